"""Files of order books: exact values of small files, every error with its location, and fuzzing."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.files import BOOKS, MESSAGES, NAMED, check_mutations, lobster_pair, replace_cell, write

from twosided.data.content import DataError
from twosided.data.order_books import BookSnapshots, read_snapshots


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "x_message_3.csv", MESSAGES), write(tmp_path / "x_orderbook_3.csv", BOOKS)


def error_of(*paths: Path) -> str:
    with pytest.raises(DataError) as error:
        read_snapshots(*paths)
    message = str(error.value)
    assert "\n" not in message
    return message


# --- Valid files ---


def test_lobster_book_is_read_exactly(tmp_path):
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


def test_lobster_pair_is_read_in_either_order_plain_or_compressed(tmp_path, pair):
    message, book = pair
    assert any("9999999999" in line for line in BOOKS), "the books should have unoccupied levels"
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
def test_consistent_pair_with_any_number_of_levels_is_accepted(tmp_path, levels, seed):
    messages, books = lobster_pair(400, levels, seed)
    snapshots = read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", books))
    assert (len(snapshots), snapshots.num_levels) == (400, levels)


def test_book_with_fewer_levels_than_its_messages_is_accepted(tmp_path):
    """In a book cut to two levels, messages beyond the last level cannot be checked and are not refused."""
    messages, books = lobster_pair(400, 10)
    cut = [",".join(line.split(",")[:8]) for line in books]
    assert read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", cut)).num_levels == 2


def test_hidden_executions_cross_trades_and_seventh_column_are_accepted(tmp_path):
    """Type 5 with order 0 and type 6 with a negative order leave the book unchanged."""
    time = MESSAGES[29].split(",")[0]
    messages = [*MESSAGES[:30], f"{time},5,0,100,301500,1", f"{time},6,-1,0,301500,-1", *MESSAGES[30:]]
    books = [*BOOKS[:30], BOOKS[29], BOOKS[29], *BOOKS[30:]]
    files = write(tmp_path / "m.csv", [line + ",null" for line in messages]), write(tmp_path / "b.csv", books)
    assert len(read_snapshots(*files)) == 62


def test_rows_within_trading_halt_may_be_crossed_and_are_dropped(tmp_path):
    time = MESSAGES[29].split(",")[0]
    halt = [f"{time},7,0,0,-1,-1", f"{time},1,999,100,310000,1", f"{time},7,0,0,0,-1", f"{time},7,0,0,1,-1"]
    crossed = replace_cell([BOOKS[29]], 1, 3, "310000")[0]
    messages = [*MESSAGES[:30], *halt, *MESSAGES[30:]]
    books = [*BOOKS[:30], BOOKS[29], crossed, crossed, BOOKS[29], *BOOKS[30:]]
    snapshots = read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", books))
    assert (snapshots.rows_read, snapshots.rows_halted, len(snapshots)) == (64, 3, 61)
    assert np.all(snapshots.bid_price[:, 0] < snapshots.ask_price[:, 0])


def test_named_columns_are_read_in_any_order_among_other_columns(tmp_path):
    snapshots = read_snapshots(write(tmp_path / "named.csv.gz", NAMED))
    np.testing.assert_array_equal(snapshots.time, np.arange(30))
    np.testing.assert_array_equal(snapshots.ask_size[:, 0], np.arange(10, 40))
    np.testing.assert_array_equal(snapshots.bid_price[0], [100.25, 100.0])


def test_empty_cells_and_dummy_prices_are_unoccupied_levels(tmp_path):
    names = [
        f"{side}_{quantity}_{n}" for n in (1, 2) for side in ("ask", "bid") for quantity in ("price", "size")
    ]
    lines = [",".join(f'"{name}"' for name in names)]
    lines += ["10.5,3,10,2,,,,", "10.5,3,10,2,999999.9999,0,-999999.9999,0", ",,10,2,,0,,0"]
    snapshots = read_snapshots(write(tmp_path / "r.csv", lines))
    np.testing.assert_array_equal(snapshots.ask_price, [[10.5, np.nan], [10.5, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(snapshots.ask_size, [[3, 0], [3, 0], [0, 0]])


def test_parquet_and_csv_give_equal_snapshots(tmp_path):
    expected = read_snapshots(write(tmp_path / "named.csv", NAMED))
    frame = pl.read_csv(tmp_path / "named.csv")
    frame.write_parquet(tmp_path / "named.parquet")
    from_parquet = read_snapshots(tmp_path / "named.parquet")
    for name in ("ask_price", "ask_size", "bid_price", "bid_size", "time"):
        np.testing.assert_array_equal(getattr(from_parquet, name), getattr(expected, name))
    dated = frame.with_columns(pl.from_epoch("time", "s").alias("time"))
    dated.write_parquet(tmp_path / "dated.parquet")
    np.testing.assert_array_equal(read_snapshots(tmp_path / "dated.parquet").time, np.arange(30))


# --- Layouts of vendors ---

LEVELS = [(100.5, 3, 100.25, 7), (100.75, 2, 100.0, 4)]
"""Ask price, ask size, bid price and bid size of two levels."""


def named_book(names, times=None, header="time", absent=("", "", "", "")) -> list[str]:
    """Return the lines of three snapshots. `names` makes the four names of a level; the third row has one level."""
    columns = [name for level in (0, 1) for name in names(level)]
    cells = [[str(x) for level in LEVELS for x in level]] * 2 + [[*map(str, LEVELS[0]), *absent]]
    if times is None:
        return [",".join(row) for row in [columns, *cells]]
    rows = [[time, *row] for time, row in zip(times, cells, strict=True)]
    return [",".join(row) for row in [[header, *columns], *rows]]


def numbered(template: str, first: int, price="price", size="size"):
    """Return a function that makes the four names of a level."""
    return lambda level: [
        template.format(side=side, name=name, n=level + first)
        for side in ("ask", "bid")
        for name in (price, size)
    ]


NAMES = {
    "from 1": numbered("{side}_{name}_{n}", 1),
    "from 0": numbered("{side}_{name}_{n}", 0),
    "Tardis": numbered("{side}s[{n}].{name}", 0, size="amount"),
    "Databento": numbered("{side}_{name}_0{n}", 0, "px", "sz"),
    "capitals": numbered("{side}{name}{n}", 1, "Price", "Volume"),
    "level first": numbered("{side}_{n}_{name}", 1, size="qty"),
}


def assert_two_levels(snapshots: BookSnapshots) -> None:
    np.testing.assert_array_equal(snapshots.ask_price, [[100.5, 100.75]] * 2 + [[100.5, np.nan]])
    np.testing.assert_array_equal(snapshots.ask_size, [[3, 2]] * 2 + [[3, 0]])
    np.testing.assert_array_equal(snapshots.bid_price, [[100.25, 100.0]] * 2 + [[100.25, np.nan]])
    np.testing.assert_array_equal(snapshots.bid_size, [[7, 4]] * 2 + [[7, 0]])
    assert len(snapshots.layouts) == 1


@pytest.mark.parametrize("absent", [("",) * 4, ("0",) * 4, ("0.0", "", "0.0", "")])
@pytest.mark.parametrize("kind", NAMES)
def test_books_of_vendors_are_read_exactly(tmp_path, kind, absent):
    path = write(tmp_path / "b.csv", named_book(NAMES[kind], absent=absent))
    assert_two_levels(read_snapshots(path))
    pl.read_csv(path).write_parquet(tmp_path / "b.parquet")
    assert_two_levels(read_snapshots(tmp_path / "b.parquet"))


def test_missing_level_is_named_as_the_file_counts_levels(tmp_path):
    lines = named_book(numbered("{side}_{name}_{n}", 0))
    lines[0] = lines[0].replace("bid_size_0", "other")
    path = write(tmp_path / "b.csv", lines)
    assert error_of(path) == f"{path}, line 1: no column bid_size_0"
    lines = replace_cell(named_book(NAMES["Tardis"]), 3, 1, "99")
    assert error_of(write(path, lines)) == f"{path}, line 3: bid 100.25 is not below ask 99"
    lines = replace_cell(named_book(NAMES["Tardis"]), 3, 2, "-1")
    assert error_of(write(path, lines)) == f"{path}, line 3: asks[0].amount must be at least 0, but is -1"


def test_fixed_point_prices_of_databento_are_in_currency(tmp_path):
    lines = named_book(NAMES["Databento"])
    undefined = ["9223372036854775807", "0", "9223372036854775807", "0"]
    rows = [
        [str(round(float(x) * 1e9)) if i % 2 == 0 else x for i, x in enumerate(line.split(","))]
        for line in lines[1:3]
    ]
    rows.append(rows[0][:4] + undefined)
    lines = [f"ts_event,rtype,publisher_id,{lines[0]}"] + [
        ",".join([f"167809500000000000{i}", "10", "1", *row]) for i, row in enumerate(rows)
    ]
    snapshots = read_snapshots(write(tmp_path / "b.csv", lines))
    assert_two_levels(snapshots)
    assert snapshots.time[0] == 1678095000


TIMES = ("2023-03-06 09:30:00", "2023-03-06 09:30:00.5", "2023-03-06 09:30:01")


@pytest.mark.parametrize(
    ("header", "times", "seconds"),
    [
        ("time", TIMES, (1678095000, 1678095000.5, 1678095001)),
        ("timestamp", [f"{t.replace(' ', 'T')}Z" for t in TIMES], (1678095000, 1678095000.5, 1678095001)),
        ("time", [f"1678095000{x}" for x in ("0" * 9, "5" + "0" * 8, "9" * 9)], (1678095000, 1678095000.5, 1678095001)),
        ("timestamp", [f"1678095000{x}" for x in ("0" * 6, "500000", "9" * 6)], (1678095000, 1678095000.5, 1678095001)),
        ("time", ("20230306093000", "20230306093001", "20230306093002"), (1678095000, 1678095001, 1678095002)),
        ("time", ("09:30:00", "09:30:00.5", "09:30:01"), (34200, 34200.5, 34201)),
        ("time", ("34200.1", "34200.2", "34200.3"), (34200.1, 34200.2, 34200.3)),
    ],
)  # fmt: skip
def test_times_of_books_are_read(tmp_path, header, times, seconds):
    snapshots = read_snapshots(write(tmp_path / "b.csv", named_book(NAMES["Tardis"], times, header)))
    np.testing.assert_allclose(snapshots.time, seconds, rtol=0, atol=2e-6)


def test_time_other_than_named_time_is_left_out_if_it_is_not_in_order(tmp_path):
    lines = named_book(NAMES["Tardis"], ("3,1,x", "2,5,x", "4,9,x"), "timestamp,local_timestamp,note")
    path = write(tmp_path / "b.csv", lines)
    snapshots = read_snapshots(path)
    assert snapshots.time.tolist() == [1, 5, 9]
    assert "times from local_timestamp" in snapshots.layouts[0]
    assert read_snapshots(path, columns={"time": "local_timestamp"}).time.tolist() == [1, 5, 9]
    with pytest.raises(DataError, match="line 3: time 2 is before 3"):
        read_snapshots(path, columns={"time": "timestamp"})
    with pytest.raises(DataError, match="line 2: note must be a date"):
        read_snapshots(path, columns={"time": "note"})
    lines = named_book(NAMES["Tardis"], ("3", "2", "4"), "timestamp")
    snapshots = read_snapshots(write(path, lines))
    assert snapshots.time is None and snapshots.layouts[0].endswith(
        "timestamp left out, being no times in order"
    )


def test_columns_of_books_can_be_named(tmp_path):
    lines = named_book(lambda level: [f"a{level}", f"as{level}", f"b{level}", f"bs{level}"])
    path = write(tmp_path / "b.csv", lines)
    columns = {
        f"{side}_{name}_{n}": f"{side[0]}{'s' * (name == 'size')}{n - 1}"
        for n in (1, 2) for side in ("ask", "bid") for name in ("price", "size")
    }  # fmt: skip
    assert_two_levels(read_snapshots(path, columns=columns))
    book = write(tmp_path / "l.csv", BOOKS)
    with pytest.raises(DataError, match="line 1: has no header, so `columns` cannot name its columns"):
        read_snapshots(book, columns={"time": "x"})


def test_lobster_file_that_begins_within_a_halt_drops_its_rows_until_trading_resumes(tmp_path):
    """The first message of type 7 says that quotes (0) or trading (1) resume: what comes before it is halted."""
    time = MESSAGES[0].split(",")[0]
    crossed = replace_cell([BOOKS[0]], 1, 3, "310000")[0]
    for first, prices in ((3, (0, 1)), (2, (1,))):
        halt = [f"{time},1,999,100,310000,1", *(f"{time},7,0,0,{price},-1" for price in prices)]
        messages, books = [*halt, *MESSAGES[1:]], [*[crossed] * (first - 1), *BOOKS]
        snapshots = read_snapshots(write(tmp_path / "m.csv", messages), write(tmp_path / "b.csv", books))
        assert (snapshots.rows_read, snapshots.rows_halted) == (59 + first, first - 1)
    message = write(tmp_path / "m.csv", [f"{time},7,0,0,-1,-1", *messages])
    book = write(tmp_path / "b.csv", [BOOKS[0], *books])
    assert read_snapshots(message, book).rows_halted == 2


# --- Invalid files ---


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (1, "300000", "bid 30 is not below ask 30"),
        (3, "300300", "bid 30.03 is not below ask 30.03"),
        (2, "-5", "ask_size_1 must be at least 0, but is -5"),
        (4, "x12", "bid_size_1 must be a finite number, but is 'x12'"),
        (4, "nan", "bid_size_1 must be a finite number, but is 'nan'"),
        (4, "inf", "bid_size_1 must be a finite number, but is 'inf'"),
        (4, "1e999", "bid_size_1 must be a finite number, but is '1e999'"),
        (4, "", "bid_size_1 must be a finite number, but is empty"),
        (4, "1,1", "13 columns, but the first line has 12"),
        (4, "\xff", "bid_size_1 must be a finite number, but is 'ÿ'"),
        (4, "1e16", "bid_size_1 must be at most 1e+15 in absolute value, but is 1e+16"),
        (4, "10.5", "bid_size_1 must be an integer in a LOBSTER file, but is 10.5"),
        (3, "0", "bid_price_1 must be positive, but is 0"),
        (5, "300200", "ask_price_2 30.02 is not above ask_price_1 30.03"),
        (7, "300000", "bid_price_2 30 is not below bid_price_1 30"),
        (1, "9999999999", "ask_price_2 30.04 is not above ask_price_1 999999.9999"),
    ],
)  # fmt: skip
def test_invalid_book_cell_raises(tmp_path, column, cell, message):
    row = "300300,100,300000,200,300400,300,299900,400,300500,500,299800,600"
    path = write(tmp_path / "b.csv", replace_cell([row] * 40, 17, column, cell))
    assert error_of(path) == f"{path}, line 17: {message}"


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (1, "5", "time 5 is before 15, the time of the row above"),
        (1, "", "time is empty"),
        (2, "100.2", "bid 100.25 is not below ask 100.2"),
        (3, "-1", "ask_size_1 must be at least 0, but is -1"),
        (3, "", "ask_price_1 has no size"),
        (3, "NaN", "ask_size_1 must be a finite number, but is 'NaN'"),
        (7, "", "ask_size_2 has no price"),
        (7, "100.5", "ask_price_2 100.5 is not above ask_price_1 100.5"),
        (4, "", "bid_size_1 has no price"),
    ],
)
def test_invalid_named_cell_raises_in_csv_and_parquet(tmp_path, column, cell, message):
    lines = replace_cell(NAMED, 18, column, cell)
    path = write(tmp_path / "n.csv", lines)
    assert error_of(path) == f"{path}, line 18: {message}"
    numbers = {column: pl.Float64 for column in NAMED[0].split(",") if column != "venue"}
    pl.read_csv(path, schema_overrides=numbers).write_parquet(tmp_path / "n.parquet")
    row = f"{tmp_path / 'n.parquet'}, row 17: {message}"
    assert error_of(tmp_path / "n.parquet") == row.replace("'NaN'", "nan")


def test_occupied_level_below_an_empty_level_raises(tmp_path):
    lines = replace_cell(replace_cell(NAMED, 18, 4, ""), 18, 5, "0")
    path = write(tmp_path / "n.csv", lines)
    assert error_of(path) == f"{path}, line 18: bid level 2 is occupied, but level 1 is empty"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("ask_price_1,ask_size_1,bid_price_1", "no column bid_size_1"),
        (
            "ask_prise_1,ask_size_1,bid_price_1,bid_size_1",
            "no column ask_price_1; did you mean 'ask_prise_1'?",
        ),
        (
            "ask_price_1,ask_size_1,bid_price_1,bid_size_1,ask_price_2,ask_size_2,bid_price_2,bid_siz_2",
            "no column bid_size_2; did you mean 'bid_siz_2'?",
        ),
        ("ask_price_1,ask_size_1,bid_price_1,bid_size_1,ask_size_1", "two columns are named ask_size_1"),
        ("ask_price_1,ask_size_1,bid_price_1,bid_size_1", "no rows follow the header"),
        (
            "price",
            "columns must be separated by commas, semicolons, tabs or vertical bars, but there is one column",
        ),
        ("1,2,3", "a LOBSTER message file must have 6 columns, and an orderbook file 4 per level, but got 3"),
    ],
)
def test_invalid_first_line_raises(tmp_path, header, message):
    path = write(tmp_path / "n.csv", [header])
    assert error_of(path).startswith(f"{path}, line 1: {message}")


@pytest.mark.parametrize(
    ("line", "column", "cell", "message"),
    [
        (9, 2, "8", "type must be a LOBSTER event type from 1 to 7, but is 8"),
        (9, 1, "34199", "time 34199 is before "),
        (9, 1, "90000", "time must be from 0 to 86400 seconds after midnight, but is 90000"),
        (9, 4, "0", "size must be positive, but is 0"),
        (9, 5, "-100", "price must be positive, but is -100"),
        (9, 6, "0", "direction must be 1 or -1, but is 0"),
        (9, 3, "1.5", "order_id must be an integer in a LOBSTER file, but is 1.5"),
        (9, 6, "1;", "direction must be a finite number, but is '1;'"),
    ],
)
def test_invalid_message_cell_raises(tmp_path, pair, line, column, cell, message):
    path = write(tmp_path / "m.csv", replace_cell(MESSAGES, line, column, cell))
    assert error_of(path, pair[1]).startswith(f"{path}, line {line}: {message}")


def test_messages_that_do_not_match_the_book_raise(tmp_path, pair):
    message, book = pair
    submission = next(i for i, line in enumerate(MESSAGES, 1) if i > 20 and line.split(",")[1] == "1")
    deletion = next(i for i, line in enumerate(MESSAGES, 1) if i > 20 and line.split(",")[1] == "3")

    def error_with(lines: list[str]) -> str:
        return error_of(write(tmp_path / "m.csv", lines), book).removeprefix(f"{tmp_path / 'm.csv'}, ")

    # An order off the price grid at the best price, which must be within the levels.
    for line, event in ((submission, "submission"), (deletion, "deletion")):
        bid = MESSAGES[line - 1].endswith(",1")
        best = int(BOOKS[line - 2].split(",")[2 if bid else 0])
        text = error_with(replace_cell(MESSAGES, line, 5, str(best + 50 if bid else best - 50)))
        assert text.startswith(f"line {line}: the {event} of ")
        if event == "submission":
            assert text.endswith(f" is not in the book after it, {book}, line {line}")
        else:
            assert text.endswith(f" has no order in the book before it, {book}, line {line - 1}")
    # A size that differs from the change of the book.
    assert error_with(replace_cell(MESSAGES, submission, 4, "12345")).startswith(
        f"line {submission}: the submission of 12345 at "
    )
    # Rows that are shifted, missing, or from another book.
    assert error_with([MESSAGES[0], *MESSAGES[:-1]]).startswith("line ")
    others, _ = lobster_pair(60, 3, seed=1)
    assert error_with(others).startswith("line ")
    assert error_with(MESSAGES[:-1]).startswith(f"line 59: the file ends here, but {book} has 60 rows, ")
    shorter = write(tmp_path / "b.csv", BOOKS[:-2])
    assert error_of(message, shorter).startswith(f"{shorter}, line 58: the file ends here")


def test_size_mismatches_in_up_to_one_percent_of_events_are_accepted(tmp_path):
    """Real pairs of files have occasional mismatches."""
    messages, books = lobster_pair(400, 3)
    submissions = [i for i, line in enumerate(messages, 1) if line.split(",")[1] == "1"]
    lines = replace_cell(messages, submissions[50], 4, "12345")
    book = write(tmp_path / "b.csv", books)
    assert len(read_snapshots(write(tmp_path / "m.csv", lines), book)) == 400
    for line in submissions[60:70]:
        lines = replace_cell(lines, line, 4, "12345")
    message = write(tmp_path / "m.csv", lines)
    assert error_of(message, book).startswith(
        f"{message}, line {submissions[50]}: the submission of 12345 at "
    )


def test_files_that_do_not_belong_together_raise(tmp_path, pair):
    message, book = pair
    named = write(tmp_path / "n.csv", NAMED)
    assert (
        error_of(message) == f"{message}: a LOBSTER message file needs its orderbook file, which is missing"
    )
    assert (
        error_of(book, named) == f"{named}: a second book beside {book}, but only one can be read at a time"
    )
    assert error_of(named, message).startswith(f"{message}: LOBSTER messages need a LOBSTER orderbook")
    assert error_of().endswith("but got 0 files")
    assert error_of(message, book, named).endswith("but got 3 files")
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read (is a directory)"
    assert (
        error_of(tmp_path / "no.csv") == f"{tmp_path / 'no.csv'}: cannot be read (no such file or directory)"
    )


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.parquet"])
def test_empty_file_raises(tmp_path, name):
    for lines in ([], [""], ["", "", ""]):
        path = write(tmp_path / name, lines)
        assert error_of(path).startswith(f"{path}: ")
    (tmp_path / name).write_bytes(b"")
    assert "empty" in error_of(tmp_path / name) or "truncated" in error_of(tmp_path / name)


def test_empty_lines_and_other_encodings_raise(tmp_path):
    path = write(tmp_path / "b.csv", [*BOOKS[:11], "", *BOOKS[11:]])
    assert error_of(path) == f"{path}, line 12: the line is empty"
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n").replace(b",", b"\xff,", 1))
    assert error_of(path).startswith(f"{path}, line 1: ask_price_1 must be a finite number, but is ")
    named = "\n".join(NAMED).replace("XNAS", "Zürich")
    path.write_text(named, encoding="utf-8")
    assert len(read_snapshots(path)) == 30
    path.write_text(named, encoding="latin-1")
    assert error_of(path) == f"{path}, line 2: not UTF-8 text"
    path.write_text(named, encoding="utf-16")
    assert len(read_snapshots(path)) == 30
    path.write_bytes(path.read_bytes()[:-5])
    assert error_of(path).startswith(f"{path}, line 31: bid_size_2 must be a finite number, but is ")


def test_invalid_line_of_long_file_is_located(tmp_path):
    path = write(tmp_path / "b.csv", replace_cell([BOOKS[0]] * 25_000, 20_001, 4, "1o0"))
    assert error_of(path) == f"{path}, line 20001: bid_size_1 must be a finite number, but is '1o0'"


def test_damaged_gzip_raises_with_the_line_where_it_ends(tmp_path):
    path = tmp_path / "b.csv.gz"
    content = "".join(f"{line}\n" for line in BOOKS).encode()
    whole = gzip.compress(content)
    for length in range(len(whole) - 1, 20, -7):
        path.write_bytes(whole[:length])
        assert error_of(path).startswith(f"{path}, line ")
        assert error_of(path).endswith("the gzip file is truncated here")
    path.write_bytes(content)
    assert error_of(path) == f"{path}, line 1: the gzip file is damaged here"


def test_unreadable_parquet_raises(tmp_path):
    path = tmp_path / "n.parquet"
    write(path, NAMED)
    assert error_of(path).startswith(f"{path}: not a readable Parquet file (")
    pl.DataFrame(
        {"ask_price_1": ["a"], "ask_size_1": [1], "bid_price_1": [1], "bid_size_1": [1]}
    ).write_parquet(path)
    assert error_of(path) == f"{path}: column ask_price_1 must be numeric, but has the type large_string"
    pl.DataFrame({"ask_price_1": [1.0]}).write_parquet(path)
    assert error_of(path) == f"{path}: no column ask_size_1"


# --- Fuzzing ---


def assert_valid(snapshots: BookSnapshots) -> None:
    n, levels = snapshots.ask_price.shape
    assert 1 <= n <= snapshots.rows_read
    for price, size in ((snapshots.ask_price, snapshots.ask_size), (snapshots.bid_price, snapshots.bid_size)):
        assert price.shape == size.shape == (n, levels)
        occupied = ~np.isnan(price)
        assert np.all((price[occupied] > 0) & (price[occupied] <= 1e15))
        assert np.all((size >= 0) & (size <= 1e15))
        assert np.all(size[~occupied] == 0)
        assert np.all(occupied[:, :-1] | ~occupied[:, 1:])
    assert not np.any(snapshots.bid_price[:, 0] >= snapshots.ask_price[:, 0])
    assert not np.any(np.diff(snapshots.ask_price, axis=1) <= 0)
    assert not np.any(np.diff(snapshots.bid_price, axis=1) >= 0)
    assert snapshots.time is None or np.all(np.diff(snapshots.time) >= 0)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, list[Path]]:
    """Return files of each kind: the file to mutate, followed by the files that are read with it."""
    folder = tmp_path_factory.mktemp("originals")
    message, book = write(folder / "m.csv", MESSAGES), write(folder / "b.csv", BOOKS)
    named, parquet = write(folder / "n.csv", NAMED), folder / "n.parquet"
    pl.read_csv(named).write_parquet(parquet)
    gzipped = write(folder / "b.csv.gz", BOOKS)
    return {
        "message": [message, book],
        "book": [book, message],
        "gzipped": [gzipped, message],
        "named": [named],
        "parquet": [parquet],
    }


@pytest.mark.parametrize("kind", ["message", "book", "gzipped", "named", "parquet"])
def test_mutated_files_give_valid_books_or_one_line_errors(originals, kind, tmp_path_factory):
    check_mutations(
        originals[kind], tmp_path_factory.mktemp(kind), lambda paths: assert_valid(read_snapshots(*paths))
    )
