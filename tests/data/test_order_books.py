"""Readers of market data: exact small files, every refusal with its place, a thousand mutations of each."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.files import (
    BOOKS,
    MESSAGES,
    NAMED,
    changed,
    lobster_pair,
    survive_mutations,
    write,
)

from twosided.data.order_books import BookSnapshots, read_snapshots
from twosided.data.tables import DataError

NAMED[0] += ",ask_price_2,ask_size_2,bid_price_2,bid_size_2"
NAMED += [f"{i},100.5,{10 + i},100.25,7,XNAS,100.75,3,100,{4 * i}" for i in range(30)]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "x_message_3.csv", MESSAGES), write(tmp_path / "x_orderbook_3.csv", BOOKS)


def refusal(*paths: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_snapshots(*paths)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- What is accepted ---


def test_lobster_book_exactly(tmp_path):
    lines = [
        "309000,1800,308800,5300,309100,5000,308700,3300",
        "309000,1800,308800,5300,9999999999,0,-9999999999,0",
    ]
    snapshots = read_snapshots(write(tmp_path / "b.csv", lines))
    np.testing.assert_array_equal(snapshots.ask_price, [[30.9, 30.91], [30.9, np.nan]])
    np.testing.assert_array_equal(snapshots.ask_size, [[1800, 5000], [1800, 0]])
    np.testing.assert_array_equal(snapshots.bid_price, [[30.88, 30.87], [30.88, np.nan]])
    np.testing.assert_array_equal(snapshots.bid_size, [[5300, 3300], [5300, 0]])
    assert snapshots.time is None
    assert (snapshots.rows_read, len(snapshots), snapshots.num_levels) == (2, 2, 2)


def test_the_pair_is_read_in_either_order_plain_or_compressed(tmp_path, pair):
    message, book = pair
    assert any("9999999999" in line for line in BOOKS), "the books should have levels that are not there"
    expected = read_snapshots(message, book)
    assert expected.sources == (str(message), str(book))
    np.testing.assert_array_equal(expected.time, [float(line.split(",")[0]) for line in MESSAGES])
    compressed = write(tmp_path / "m.csv.gz", MESSAGES), write(tmp_path / "b.csv.gz", BOOKS)
    windows = write(tmp_path / "m", [line + "\r" for line in MESSAGES]), write(tmp_path / "b", BOOKS)
    windows[1].write_bytes(b"\xef\xbb\xbf" + windows[1].read_bytes().replace(b"\n", b"\r\n"))
    for files in ((book, message), compressed, windows):
        np.testing.assert_array_equal(read_snapshots(*files).bid_size, expected.bid_size)


@pytest.mark.parametrize("levels", [1, 2, 10])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_consistent_pairs_of_any_number_of_levels_are_accepted(tmp_path, levels, seed):
    messages, books = lobster_pair(400, levels, seed)
    snapshots = read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", books))
    assert (len(snapshots), snapshots.num_levels) == (400, levels)


def test_a_book_of_fewer_levels_than_its_messages_is_accepted(tmp_path):
    """A user's cut: messages beyond the last level that is left cannot be checked and are not refused."""
    messages, books = lobster_pair(400, 10)
    cut = [",".join(line.split(",")[:8]) for line in books]
    assert read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", cut)).num_levels == 2


def test_hidden_executions_crosses_and_a_seventh_column_are_accepted(tmp_path):
    """Rows that leave the book as it is: type 5 with order 0, and type 6 with a negative order."""
    time = MESSAGES[29].split(",")[0]
    messages = [*MESSAGES[:30], f"{time},5,0,100,301500,1", f"{time},6,-1,0,301500,-1", *MESSAGES[30:]]
    books = [*BOOKS[:30], BOOKS[29], BOOKS[29], *BOOKS[30:]]
    files = write(tmp_path / "m.csv", [line + ",null" for line in messages]), write(tmp_path / "b.csv", books)
    assert len(read_snapshots(*files)) == 62


def test_books_within_a_trading_halt_may_be_crossed_and_are_left_out(tmp_path):
    time = MESSAGES[29].split(",")[0]
    halt = [f"{time},7,0,0,-1,-1", f"{time},1,999,100,310000,1", f"{time},7,0,0,0,-1", f"{time},7,0,0,1,-1"]
    crossed = changed([BOOKS[29]], 1, 3, "310000")[0]
    messages = [*MESSAGES[:30], *halt, *MESSAGES[30:]]
    books = [*BOOKS[:30], BOOKS[29], crossed, crossed, BOOKS[29], *BOOKS[30:]]
    snapshots = read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", books))
    assert (snapshots.rows_read, snapshots.rows_halted, len(snapshots)) == (64, 3, 61)
    assert np.all(snapshots.bid_price[:, 0] < snapshots.ask_price[:, 0])


def test_named_columns_in_any_order_with_others_between(tmp_path):
    snapshots = read_snapshots(write(tmp_path / "named.csv.gz", NAMED))
    np.testing.assert_array_equal(snapshots.time, np.arange(30))
    np.testing.assert_array_equal(snapshots.ask_size[:, 0], np.arange(10, 40))
    np.testing.assert_array_equal(snapshots.bid_price[0], [100.25, 100.0])


def test_empty_cells_and_lobsters_mark_are_levels_that_are_not_there(tmp_path):
    names = [f"{side}_{what}_{n}" for n in (1, 2) for side in ("ask", "bid") for what in ("price", "size")]
    lines = [",".join(f'"{name}"' for name in names)]
    lines += ["10.5,3,10,2,,,,", "10.5,3,10,2,999999.9999,0,-999999.9999,0", ",,10,2,,0,,0"]
    snapshots = read_snapshots(write(tmp_path / "r.csv", lines))
    np.testing.assert_array_equal(snapshots.ask_price, [[10.5, np.nan], [10.5, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(snapshots.ask_size, [[3, 0], [3, 0], [0, 0]])


def test_parquet_gives_what_csv_gives(tmp_path):
    expected = read_snapshots(write(tmp_path / "named.csv", NAMED))
    frame = pl.read_csv(tmp_path / "named.csv")
    frame.write_parquet(tmp_path / "named.parquet")
    from_parquet = read_snapshots(tmp_path / "named.parquet")
    for name in ("ask_price", "ask_size", "bid_price", "bid_size", "time"):
        np.testing.assert_array_equal(getattr(from_parquet, name), getattr(expected, name))
    dated = frame.with_columns(pl.from_epoch("time", "s").alias("time"))
    dated.write_parquet(tmp_path / "dated.parquet")
    np.testing.assert_array_equal(read_snapshots(tmp_path / "dated.parquet").time, np.arange(30))


# --- What is refused, with its file and line ---


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        (1, "300000", "bid 30 is not below ask 30"),
        (3, "300300", "bid 30.03 is not below ask 30.03"),
        (2, "-5", "ask_size_1 is negative, -5"),
        (4, "x12", "bid_size_1 is 'x12', not a finite number"),
        (4, "nan", "bid_size_1 is 'nan', not a finite number"),
        (4, "inf", "bid_size_1 is 'inf', not a finite number"),
        (4, "1e999", "bid_size_1 is '1e999', not a finite number"),
        (4, "", "bid_size_1 is empty, not a finite number"),
        (4, "1,1", "13 columns, where the first line has 12"),
        (4, "\xff", "bid_size_1 is 'ÿ', not a finite number"),
        (4, "1e16", "bid_size_1 1e+16 is too large"),
        (4, "10.5", "bid_size_1 10.5 is not a whole number, as LOBSTER's are"),
        (3, "0", "bid_price_1 is not positive, 0"),
        (5, "300200", "ask_price_2 30.02 is not above ask_price_1 30.03"),
        (7, "300000", "bid_price_2 30 is not below bid_price_1 30"),
        (1, "9999999999", "ask_price_2 30.04 is not above ask_price_1 999999.9999"),
    ],
)  # fmt: skip
def test_a_bad_cell_of_a_book_is_refused(tmp_path, column, cell, sentence):
    row = "300300,100,300000,200,300400,300,299900,400,300500,500,299800,600"
    path = write(tmp_path / "b.csv", changed([row] * 40, 17, column, cell))
    assert refusal(path) == f"{path}, line 17: {sentence}"


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        (1, "5", "time 5 is before the 15 of the row above"),
        (1, "", "time is empty"),
        (2, "100.2", "bid 100.25 is not below ask 100.2"),
        (3, "-1", "ask_size_1 is negative, -1"),
        (3, "", "ask_price_1 has no size"),
        (3, "NaN", "ask_size_1 is 'NaN', not a finite number"),
        (7, "", "ask_size_2 has no price"),
        (7, "100.5", "ask_price_2 100.5 is not above ask_price_1 100.5"),
        (4, "", "bid_size_1 has no price"),
    ],
)
def test_a_bad_cell_of_named_columns_is_refused_in_csv_and_parquet(tmp_path, column, cell, sentence):
    lines = changed(NAMED, 18, column, cell)
    path = write(tmp_path / "n.csv", lines)
    assert refusal(path) == f"{path}, line 18: {sentence}"
    numbers = {column: pl.Float64 for column in NAMED[0].split(",") if column != "venue"}
    pl.read_csv(path, schema_overrides=numbers).write_parquet(tmp_path / "n.parquet")
    row = f"{tmp_path / 'n.parquet'}, row 17: {sentence}"
    assert refusal(tmp_path / "n.parquet") == row.replace("'NaN'", "nan")


def test_levels_without_a_better_one_are_refused(tmp_path):
    lines = changed(changed(NAMED, 18, 4, ""), 18, 5, "0")
    path = write(tmp_path / "n.csv", lines)
    assert refusal(path) == f"{path}, line 18: bid level 2 follows level 1, which is empty"


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("ask_price_1,ask_size_1,bid_price_1", "no column bid_size_1"),
        ("ask_prise_1,ask_size_1,bid_price_1,bid_size_1", "no column ask_price_1; is 'ask_prise_1' meant?"),
        (
            "ask_price_1,ask_size_1,bid_price_1,bid_size_1,ask_price_2,ask_size_2,bid_price_2,bidsize_2",
            "no column bid_size_2; is 'bidsize_2' meant?",
        ),
        ("ask_price_1,ask_size_1,bid_price_1,bid_size_1,ask_size_1", "two columns are named ask_size_1"),
        ("ask_price_1,ask_size_1,bid_price_1,bid_size_1", "no rows follow the header"),
        ("price;size", "no columns separated by commas, but 'price;size'"),
        ("1,2,3", "3 columns, but commas separate 6 in a LOBSTER message file and 4 for each level in an"),
    ],
)
def test_a_bad_first_line_is_refused(tmp_path, header, sentence):
    path = write(tmp_path / "n.csv", [header])
    assert refusal(path).startswith(f"{path}, line 1: {sentence}")


@pytest.mark.parametrize(
    ("line", "column", "cell", "sentence"),
    [
        (9, 2, "8", "type 8 is not one of LOBSTER's, 1 to 7"),
        (9, 1, "34199", "time 34199 is before the "),
        (9, 1, "90000", "time 90000 is not a second of a day"),
        (9, 4, "0", "size 0 is not positive"),
        (9, 5, "-100", "price -100 is not positive"),
        (9, 6, "0", "direction 0 is neither 1 nor -1"),
        (9, 3, "1.5", "order_id 1.5 is not a whole number, as LOBSTER's are"),
        (9, 6, "1;", "direction is '1;', not a finite number"),
    ],
)
def test_a_bad_cell_of_a_message_is_refused(tmp_path, pair, line, column, cell, sentence):
    message = write(tmp_path / "m.csv", changed(MESSAGES, line, column, cell))
    assert refusal(message, pair[1]).startswith(f"{message}, line {line}: {sentence}")


def test_messages_that_do_not_match_their_book_are_refused(tmp_path, pair):
    message, book = pair
    submission = next(i for i, line in enumerate(MESSAGES, 1) if i > 20 and line.split(",")[1] == "1")
    deletion = next(i for i, line in enumerate(MESSAGES, 1) if i > 20 and line.split(",")[1] == "3")

    def refused(lines: list[str]) -> str:
        return refusal(write(tmp_path / "m.csv", lines), book).removeprefix(f"{tmp_path / 'm.csv'}, ")

    # An order off the grid of prices, but better than any there is, so that it must be seen.
    for line, event in ((submission, "submission"), (deletion, "deletion")):
        bid = MESSAGES[line - 1].endswith(",1")
        best = int(BOOKS[line - 2].split(",")[2 if bid else 0])
        refused_line = refused(changed(MESSAGES, line, 5, str(best + 50 if bid else best - 50)))
        assert refused_line.startswith(f"line {line}: the {event} of ")
        if event == "submission":
            assert refused_line.endswith(f" is not in the book of {book}, line {line}")
        else:
            assert refused_line.endswith(f" finds nothing there in the book of {book}, line {line - 1}")
    # A size that is not the change of the book.
    assert refused(changed(MESSAGES, submission, 4, "12345")).startswith(
        f"line {submission}: the submission of 12345 at "
    )
    # Rows that are shifted, missing, or of another book.
    assert refused([MESSAGES[0], *MESSAGES[:-1]]).startswith("line ")
    others, _ = lobster_pair(60, 3, seed=1)
    assert refused(others).startswith("line ")
    assert refused(MESSAGES[:-1]).startswith(f"line 59: the file ends here, but {book} goes on to row 60, ")
    shorter = write(tmp_path / "b.csv", BOOKS[:-2])
    assert refusal(message, shorter).startswith(f"{shorter}, line 58: the file ends here")


def test_a_rare_size_that_does_not_fit_is_tolerated(tmp_path):
    """Real pairs have the odd one; 1% of the events may."""
    messages, books = lobster_pair(400, 3)
    submissions = [i for i, line in enumerate(messages, 1) if line.split(",")[1] == "1"]
    lines = changed(messages, submissions[50], 4, "12345")
    book = write(tmp_path / "b.csv", books)
    assert len(read_snapshots(write(tmp_path / "m.csv", lines), book)) == 400
    for line in submissions[60:70]:
        lines = changed(lines, line, 4, "12345")
    message = write(tmp_path / "m.csv", lines)
    assert refusal(message, book).startswith(
        f"{message}, line {submissions[50]}: the submission of 12345 at "
    )


def test_wrong_sets_of_files_are_refused(tmp_path, pair):
    message, book = pair
    named = write(tmp_path / "n.csv", NAMED)
    assert refusal(message) == f"{message}: LOBSTER messages come with an orderbook file, which is missing"
    assert refusal(book, named) == f"{named}: a second book beside {book}, where one is read at a time"
    assert refusal(named, message).startswith(f"{message}: LOBSTER messages need a LOBSTER orderbook")
    assert refusal().endswith("but got 0")
    assert refusal(message, book, named).endswith("but got 3")
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read (is a directory)"
    assert (
        refusal(tmp_path / "no.csv") == f"{tmp_path / 'no.csv'}: cannot be read (no such file or directory)"
    )


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.parquet"])
def test_empty_files_are_refused(tmp_path, name):
    for lines in ([], [""], ["", "", ""]):
        path = write(tmp_path / name, lines)
        assert refusal(path).startswith(f"{path}: ")
    (tmp_path / name).write_bytes(b"")
    assert "empty" in refusal(tmp_path / name) or "truncated" in refusal(tmp_path / name)


def test_empty_lines_and_other_encodings_are_refused(tmp_path):
    path = write(tmp_path / "b.csv", [*BOOKS[:11], "", *BOOKS[11:]])
    assert refusal(path) == f"{path}, line 12: the line is empty"
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n").replace(b",", b"\xff,", 1))
    assert refusal(path).startswith(f"{path}, line 1: ask_price_1 is ")
    named = "\n".join(NAMED).replace("XNAS", "Zürich")
    path.write_text(named, encoding="utf-8")
    assert len(read_snapshots(path)) == 30
    path.write_text(named, encoding="latin-1")
    assert refusal(path) == f"{path}, line 2: not UTF-8 text"
    path.write_text(named, encoding="utf-16")
    assert refusal(path).startswith(f"{path}, line 1: ")


def test_a_line_far_into_a_long_file_is_found(tmp_path):
    path = write(tmp_path / "b.csv", changed([BOOKS[0]] * 25_000, 20_001, 4, "1o0"))
    assert refusal(path) == f"{path}, line 20001: bid_size_1 is '1o0', not a finite number"


def test_broken_gzip_is_refused_at_the_line_where_it_breaks(tmp_path):
    path = tmp_path / "b.csv.gz"
    content = "".join(f"{line}\n" for line in BOOKS).encode()
    whole = gzip.compress(content)
    for length in range(len(whole) - 1, 20, -7):
        path.write_bytes(whole[:length])
        assert refusal(path).startswith(f"{path}, line ")
        assert refusal(path).endswith("the gzip file is truncated here")
    path.write_bytes(content)
    assert refusal(path) == f"{path}, line 1: the gzip file is damaged here"


def test_unreadable_parquet_is_refused(tmp_path):
    path = tmp_path / "n.parquet"
    write(path, NAMED)
    assert refusal(path).startswith(f"{path}: not a readable Parquet file (")
    pl.DataFrame(
        {"ask_price_1": ["a"], "ask_size_1": [1], "bid_price_1": [1], "bid_size_1": [1]}
    ).write_parquet(path)
    assert refusal(path) == f"{path}: column ask_price_1 holds large_string, not numbers"
    pl.DataFrame({"ask_price_1": [1.0]}).write_parquet(path)
    assert refusal(path) == f"{path}: no column ask_size_1"


# --- A thousand mutations of each kind of file ---


def assert_sane(snapshots: BookSnapshots) -> None:
    n, levels = snapshots.ask_price.shape
    assert 1 <= n <= snapshots.rows_read
    for price, size in ((snapshots.ask_price, snapshots.ask_size), (snapshots.bid_price, snapshots.bid_size)):
        assert price.shape == size.shape == (n, levels)
        there = ~np.isnan(price)
        assert np.all((price[there] > 0) & (price[there] <= 1e15))
        assert np.all((size >= 0) & (size <= 1e15))
        assert np.all(size[~there] == 0)
        assert np.all(there[:, :-1] | ~there[:, 1:])
    assert not np.any(snapshots.bid_price[:, 0] >= snapshots.ask_price[:, 0])
    assert not np.any(np.diff(snapshots.ask_price, axis=1) <= 0)
    assert not np.any(np.diff(snapshots.bid_price, axis=1) >= 0)
    assert snapshots.time is None or np.all(np.diff(snapshots.time) >= 0)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, list[Path]]:
    """Each kind of file, followed by the ones that it is read with."""
    folder = tmp_path_factory.mktemp("originals")
    message, book = write(folder / "m.csv", MESSAGES), write(folder / "b.csv", BOOKS)
    named, parquet = write(folder / "n.csv", NAMED), folder / "n.parquet"
    pl.read_csv(named).write_parquet(parquet)
    zipped = write(folder / "b.csv.gz", BOOKS)
    return {
        "message": [message, book],
        "book": [book, message],
        "zipped": [zipped, message],
        "named": [named],
        "parquet": [parquet],
    }


@pytest.mark.parametrize("kind", ["message", "book", "zipped", "named", "parquet"])
def test_a_thousand_mutations_are_accepted_with_sane_numbers_or_refused_in_a_sentence(
    originals, kind, tmp_path_factory
):
    survive_mutations(
        originals[kind], tmp_path_factory.mktemp(kind), lambda paths: assert_sane(read_snapshots(*paths))
    )
