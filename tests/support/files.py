"""Order-book files, and mutations of files for fuzzing."""

import gzip
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twosided.data.content import DataError


def lobster_pair(rows: int, levels: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Simulate an order book, and return the lines of its LOBSTER message and orderbook files.

    It has few orders, up to four ticks from the opposite side, so that levels have gaps and deep levels come and go.
    """
    rng = np.random.default_rng(seed)
    orders = {1: (1, 300_000, 500), 2: (-1, 300_300, 400)}  # side (1 buys), price, size
    messages, books, time = [], [], 34_200.0
    before = book_row(orders, levels)
    for order in range(3, 100 * rows):
        best = {1: max(p for s, p, _ in orders.values() if s == 1)}
        best[-1] = min(p for s, p, _ in orders.values() if s == -1)
        side = int(rng.choice([1, -1]))
        own = [number for number, (s, _, _) in orders.items() if s == side]
        if len(own) < 2 or rng.random() < 0.5:
            kind, size = 1, int(rng.integers(1, 9)) * 100
            price = best[-side] - side * 100 * int(rng.integers(1, 5))
            orders[order] = (side, price, size)
        else:
            order = int(rng.choice(own))
            _, price, resting = orders.pop(order)
            kind = int(rng.choice([2, 3, 4] if price == best[side] else [2, 3]))
            size = resting if kind == 3 else int(rng.integers(1, resting + (kind == 4 or resting == 1)))
            if size < resting:
                orders[order] = (side, price, resting - size)
        after = book_row(orders, levels)
        if after != before:  # LOBSTER omits events beyond its levels
            time += float(rng.exponential(0.01))
            messages.append(f"{time:.9f},{kind},{order},{size},{price},{side}")
            books.append(",".join(map(str, after)))
        before = after
        if len(books) == rows:
            return messages, books
    raise AssertionError("the book does not change")


def book_row(orders: dict[int, tuple[int, int, int]], levels: int) -> list[int]:
    """Return a row of an orderbook file for the resting orders (side, price, size)."""
    sides = {-1: [], 1: []}
    for side, best_first in sides.items():
        volume: dict[int, int] = {}
        for s, price, size in orders.values():
            if s == side:
                volume[price] = volume.get(price, 0) + size
        best_first += sorted(volume.items(), reverse=side == 1)[:levels]
        best_first += [(-side * 9_999_999_999, 0)] * (levels - len(best_first))
    return [cell for ask, bid in zip(sides[-1], sides[1], strict=True) for cell in (*ask, *bid)]


MESSAGES, BOOKS = lobster_pair(rows=60, levels=3)


NAMED = [
    "time,ask_price_1,ask_size_1,bid_price_1,bid_size_1,venue,ask_price_2,ask_size_2,bid_price_2,bid_size_2",
    *(f"{i},100.5,{10 + i},100.25,7,XNAS,100.75,3,100,{4 * i}" for i in range(30)),
]
"""Lines of an order-book file with named columns."""


def write(path: Path, lines: list[str]) -> Path:
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def replace_cell(lines: list[str], line: int, column: int, cell: str) -> list[str]:
    """Return the lines with one cell replaced. Lines and columns are counted from 1."""
    cells = lines[line - 1].split(",")
    cells[column - 1] = cell
    return [*lines[: line - 1], ",".join(cells), *lines[line:]]


CELLS = [
    "",
    "-1",
    "0",
    "x",
    "nan",
    "-inf",
    "1e400",
    "9999999999",
    "-9999999999",
    "0.5",
    "1e15",
    "300000",
    "\x00",
    '"1"',
    "7",
]


POSITIONS = st.floats(0, 1, exclude_max=True)


MUTATION = st.one_of(
    st.tuples(st.just("flip"), POSITIONS, st.integers(1, 255)),
    st.tuples(st.just("delete"), POSITIONS, st.integers(1, 40)),
    st.tuples(st.just("insert"), POSITIONS, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("truncate"), POSITIONS, st.none()),
    st.tuples(st.just("swap"), POSITIONS, POSITIONS),
    st.tuples(st.just("repeat"), POSITIONS, POSITIONS),
    st.tuples(st.just("cell"), POSITIONS, st.tuples(POSITIONS, st.sampled_from(CELLS))),
    st.tuples(st.just("digit"), POSITIONS, st.tuples(POSITIONS, POSITIONS, st.integers(0, 9))),
)


def mutate(content: bytes, mutations: list) -> bytes:
    """Apply mutations to bytes (flip, delete, insert, truncate) or to lines (swap, repeat, cell, digit)."""
    for kind, position, argument in mutations:
        if not content:
            return content
        at, lines = int(position * len(content)), content.split(b"\n")
        line = int(position * len(lines))
        cells = lines[line].split(b",")
        if kind == "flip":
            content = content[:at] + bytes([content[at] ^ argument]) + content[at + 1 :]
        elif kind == "delete":
            content = content[:at] + content[at + argument :]
        elif kind == "insert":
            content = content[:at] + argument + content[at:]
        elif kind == "truncate":
            content = content[:at]
        elif kind == "swap":
            other = int(argument * len(lines))
            lines[line], lines[other] = lines[other], lines[line]
        elif kind == "repeat":
            lines.insert(int(argument * len(lines)), lines[line])
        elif kind == "cell":
            cells[int(argument[0] * len(cells))] = argument[1].encode()
        elif kind == "digit" and (cell := cells[int(argument[0] * len(cells))]):
            digit = int(argument[1] * len(cell))
            cells[int(argument[0] * len(cells))] = (
                cell[:digit] + str(argument[2]).encode() + cell[digit + 1 :]
            )
        if kind in ("swap", "repeat", "cell", "digit"):
            lines[line] = b",".join(cells) if kind in ("cell", "digit") else lines[line]
            content = b"\n".join(lines)
    return content


def check_mutations(paths, folder, check_read):
    """Check that each of 1,000 mutations of the first file is read as valid data or raises a one-line error that names
    a file."""
    original, *others = paths
    content, path, outcomes = original.read_bytes(), folder / original.name, []

    @settings(
        max_examples=1000,
        deadline=60_000,  # a hang; a busy machine takes seconds now and then
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(MUTATION, min_size=1, max_size=3))
    def check(mutations):
        path.write_bytes(mutate(content, mutations))
        try:
            check_read([path, *others])
            outcomes.append(True)
        except DataError as error:
            assert "\n" not in str(error)
            assert str(error).startswith(tuple(map(str, [path, *others])))
            outcomes.append(False)

    check()
    assert len(outcomes) >= 1000
    assert not all(outcomes), "some mutations must raise an error"
