"""Figures of a study draw the numbers that they are given, for any number of cases."""

import re

import numpy as np
import polars as pl
import pytest
from support.figures import check_colors, check_json, lines_at, named, names, titles

from twosided.plots import figure_bars, figure_distributions, figure_lines

MARKUP, ESCAPED = "<a href='x'>b</a> & c", "&lt;a href=&#x27;x&#x27;&gt;b&lt;/a&gt; &amp; c"


def make_lines(cases=("b", "a"), steps=5):
    rows = [
        (case, step, 10.0 * i + step, 0.1 * step, 0.5 - step / 50)
        for step in reversed(range(steps))
        for i, case in enumerate(cases)
    ]
    return pl.DataFrame(rows, schema=["case", "step", "pnl", "pnl_error", "share"], orient="row")


def make_steps(cases=("calm", "wild"), number=4000, seed=0):
    rng = np.random.default_rng(seed)
    inventory = [(2 + 6 * i) * rng.normal(size=number) for i in range(len(cases))]
    columns = {"case": np.repeat(cases, number), "inventory": np.concatenate(inventory)}
    return pl.DataFrame(columns).with_columns(pnl=0.01 * pl.col("inventory") ** 2)


def make_bars():
    columns = {
        "case": ["persistent", MARKUP, "nobody"],
        "own": [91.0, -24.0, None],
        "own_error": [1.0, None, 0.5],
        "relative": [93.0, 31.0, 5.0],
        "printed": [76.2, None, 54.1],
    }
    return pl.DataFrame(columns)


PANELS = {"pnl": "PnL", "share": "market share"}
KINDS = {"inventory": "inventory, units", "pnl": "inventory PnL"}


# --- Lines ---


def test_lines_are_a_panel_a_column_and_a_line_a_case():
    frame = make_lines()
    figure = figure_lines(frame, "step", PANELS, "case", x_title="market steps")
    assert names(figure) == ["b", "a"] * 2, "in order of first appearance"
    for case in ("a", "b"):
        own = frame.filter(pl.col("case") == case).sort("step")
        for line, column, axis in zip(named(figure, case), PANELS, ("y", "y2"), strict=True):
            np.testing.assert_array_equal(line.x, own["step"].to_numpy())
            np.testing.assert_array_equal(line.y, own[column].to_numpy())
            assert line.yaxis == axis
    assert titles(figure)[0].startswith("PnL") and titles(figure)[1] == "market share"
    assert figure.layout.xaxis2.title.text == "market steps" and figure.layout.xaxis.title.text is None


def test_a_standard_error_is_a_band_of_95_percent():
    figure = figure_lines(make_lines(cases=["a"]), "step", PANELS, "case")
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 1, "of `share` no error is known"
    high, low = bands[0].y[:5], bands[0].y[:4:-1]
    np.testing.assert_allclose(high - low, 2 * 1.959964 * 0.1 * np.arange(5))
    np.testing.assert_allclose((high + low) / 2, np.arange(5), atol=1e-12)


def test_an_error_that_is_missing_is_no_band_there():
    frame = make_lines(cases=["a"]).with_columns(pnl_error=pl.lit(None))
    band, line = figure_lines(frame, "step", {"pnl": "PnL"}, "case").data
    np.testing.assert_array_equal(band.y, np.concatenate([line.y, line.y[::-1]]))


def test_cases_may_be_numbers():
    figure = figure_lines(make_lines(cases=[0.1, -1.0, 0.0]), "step", PANELS, "case")
    assert names(figure)[:3] == ["0.1", "−1", "0"]
    assert [re.sub("<.*?>", "", titles(figure)[0])] == ["PnL  ■\u00a00.1  ■\u00a0−1  ■\u00a00"]
    (line,) = named(figure, "−1")[:1]
    np.testing.assert_array_equal(line.y, 10 + np.arange(5))
    assert names(figure_lines(make_lines(cases=[-3]), "step", PANELS, "case"))[0] == "−3"


def test_words_are_never_markup():
    figure = figure_lines(make_lines(cases=[MARKUP]), "step", PANELS, "case", levels={MARKUP: 3.0})
    assert set(names(figure)) == {ESCAPED}
    assert ESCAPED in titles(figure)[0] and ESCAPED in titles(figure)
    assert "<a" not in figure.to_json().replace("\\u003c", "<")


def test_levels_are_named_lines_that_have_room():
    levels = {"best": 94.0, "bound": 91.0, "least": -30.0}
    figure = figure_lines(make_lines(), "step", PANELS, "case", levels=levels)
    assert lines_at(figure, "y") == [-30, 91, 94]
    low, high = figure.layout.yaxis.range
    assert low < -30 and high > 94
    notes = {note.text: note for note in figure.layout.annotations if note.text in levels}
    assert {name: note.y for name, note in notes.items()} == levels
    assert notes["best"].yanchor == "bottom" and notes["bound"].yanchor == "top", "named on their outer sides"
    assert notes["best"].x != notes["bound"].x, "at different ends"
    assert figure.layout.yaxis2.range is None


def test_a_band_has_room_beside_a_level():
    frame = make_lines(cases=["a"]).with_columns(pnl_error=pl.lit(50.0))
    low, high = figure_lines(frame, "step", PANELS, "case", levels={"best": 4.0}).layout.yaxis.range
    assert low < -1.96 * 50 and high > 4 + 1.96 * 50


def test_what_is_missing_is_left_out():
    frame = make_lines(cases=["a", "b", "gone"]).with_columns(
        pnl=pl.when((pl.col("case") == "a") & (pl.col("step") == 2)).then(float("nan")).otherwise("pnl"),
        share=pl.when(pl.col("case") == "a").then("share"),
    )
    gone = pl.col("case") == "gone"
    frame = frame.with_columns(pl.when(~gone).then(column).alias(column) for column in PANELS)
    figure = figure_lines(frame, "step", PANELS, "case")
    assert sorted(names(figure)) == ["a", "a", "b"], "no line without a number"
    np.testing.assert_array_equal(named(figure, "a")[0].x, [0, 1, 3, 4])
    assert "gone" not in titles(figure)[0]


def test_single_point_is_visible():
    (band, line) = figure_lines(make_lines(cases=["a"], steps=1), "step", {"pnl": "PnL"}, "case").data
    assert line.mode == "lines+markers" and len(band.x) == 2


def test_many_points_are_a_bare_line():
    assert figure_lines(make_lines(steps=500), "step", {"share": "share"}, "case").data[0].mode == "lines"


def test_more_cases_than_colours_are_all_drawn_without_a_legend():
    figure = figure_lines(make_lines(cases=range(20)), "step", {"share": "share"}, "case")
    assert len(figure.data) == 20 and titles(figure) == ["share"]


def test_seven_cases_have_seven_colours():
    figure = figure_lines(make_lines(cases=range(7)), "step", {"share": "share"}, "case")
    assert len({line.line.color for line in figure.data}) == 7


def test_a_long_title_makes_room_for_its_lines():
    short = figure_lines(make_lines(), "step", PANELS, "case")
    long = figure_lines(make_lines(cases=["a rather long name", *"abcdefg"]), "step", PANELS, "case")
    more = titles(long)[0].count("<br>")
    assert titles(short)[0].count("<br>") == 0 < more
    assert long.layout.margin.t - short.layout.margin.t == long.layout.height - short.layout.height
    assert long.layout.margin.t - short.layout.margin.t >= 15 * more


# --- Distributions ---


def test_distributions_are_shares_of_a_case_s_own_steps():
    frame = make_steps().filter((pl.col("case") == "calm") | (pl.int_range(pl.len()) % 4 == 0))
    figure = figure_distributions(frame, KINDS, "case", bins=200)
    for case in ("calm", "wild"):
        shape = named(figure, case)[0]
        own = frame.filter(pl.col("case") == case)["inventory"].to_numpy()
        # 0.1% at either end of all of it is not drawn; none of the drawn is lost.
        assert 99.4 < shape.y.sum() <= 100 + 1e-9
        mean = np.average(shape.x, weights=shape.y)
        deviation = np.sqrt(np.average((shape.x - mean) ** 2, weights=shape.y))
        assert mean == pytest.approx(own.mean(), abs=0.1)
        assert deviation == pytest.approx(own.std(), rel=0.03)
        assert shape.y[0] == shape.y[-1] == 0, "the outline is closed"
    calm, wild = (named(figure, case)[0] for case in ("calm", "wild"))
    np.testing.assert_array_equal(calm.x, wild.x)


def test_bins_reach_from_the_first_to_the_last_quantile():
    values = np.linspace(0, 1, 10_001) ** 2
    frame = pl.DataFrame({"case": "a", "inventory": values})
    (shape,) = figure_distributions(frame, {"inventory": "inventory"}, "case", bins=50).data
    width = shape.x[1] - shape.x[0]
    assert len(shape.x) == 52
    assert shape.x[1] - width / 2 == pytest.approx(0.001**2, abs=1e-6)
    assert shape.x[-2] + width / 2 == pytest.approx(0.999**2, abs=1e-3)


def test_weighted_rows_equal_repeated_steps():
    frame = make_steps(number=500).with_columns(inventory=pl.col("inventory").round())
    counted = frame.group_by("case", "inventory", maintain_order=True).len("weight")
    one = figure_distributions(frame, {"inventory": "inventory"}, "case")
    other = figure_distributions(counted, {"inventory": "inventory"}, "case", weight="weight")
    assert names(one) == names(other) == ["calm", "wild"]
    for left, right in zip(one.data, other.data, strict=True):
        np.testing.assert_allclose(left.x, right.x)
        np.testing.assert_allclose(left.y, right.y)


@pytest.mark.parametrize(("grid", "least"), [(1.0, -70), (0.25, -10.5), (0.1, 3.3)])
def test_values_on_a_grid_are_divided_evenly_among_bins(grid, least):
    """A distribution that is uniform on a grid is drawn flat, however many points share a bin."""
    values = least + grid * np.arange(143)
    frame = pl.DataFrame({"case": "a", "inventory": values.astype(np.float32)})
    (shape,) = figure_distributions(frame, {"inventory": "inventory"}, "case", bins=60).data
    assert shape.x[1] - shape.x[0] == pytest.approx(3 * grid, rel=1e-3), "143 points into at most 60 bins"
    np.testing.assert_allclose(shape.y[1:-2], 300 / 143)
    assert shape.y.sum() == pytest.approx(100)


@pytest.mark.parametrize("value", [0.0, -3.0, 0.002])
def test_one_value_only_is_all_of_it(value):
    frame = pl.DataFrame({"case": ["a"] * 3, "inventory": [value] * 3})
    (shape,) = figure_distributions(frame, {"inventory": "inventory"}, "case").data
    np.testing.assert_allclose(shape.y, [0, 100, 0])
    assert shape.x[1] == pytest.approx(value)


def test_a_case_without_values_in_a_panel_is_not_in_it():
    frame = make_steps(cases=("calm", MARKUP)).with_columns(pnl=pl.when(pl.col("case") == "calm").then("pnl"))
    figure = figure_distributions(frame, KINDS, "case")
    assert names(figure) == ["calm", ESCAPED, "calm"]
    weightless = frame.with_columns(weight=pl.when(pl.col("case") == "calm").then(1.0).otherwise(0.0))
    assert names(figure_distributions(weightless, KINDS, "case", weight="weight")) == ["calm", "calm"]


# --- Bars ---


def test_bars_are_a_row_a_label_and_a_colour_a_value():
    values = {"own": "own PnL", "relative": "relative <PnL>"}
    figure = figure_bars(make_bars(), "case", values, marks={"relative": "printed"})
    own, relative, printed = figure.data
    assert [own.name, relative.name] == ["own PnL", "relative &lt;PnL&gt;"]
    np.testing.assert_array_equal(own.x, [91, -24, np.nan])
    np.testing.assert_array_equal(relative.x, [93, 31, 5])
    np.testing.assert_array_equal(printed.x, [76.2, np.nan, 54.1])
    np.testing.assert_array_equal(printed.y, relative.y)
    np.testing.assert_allclose(own.error_x.array, [1.959964, np.nan, 0.979982])
    assert relative.error_x.array is None
    ticks = figure.layout.yaxis
    np.testing.assert_allclose((own.y + relative.y) / 2, ticks.tickvals)
    assert ticks.ticktext[0] == "persistent" and own.y[0] < relative.y[0]
    assert ticks.range[0] > ticks.range[1], "the first row is on top"
    assert np.all(relative.y - own.y > own.width), "bars of a row do not touch"
    assert titles(figure)[0].endswith("◇\u00a0the paper’s")


def test_bars_without_whiskers_or_marks():
    figure = figure_bars(make_bars(), "case", {"own": "own PnL"}, error=False)
    (own,) = figure.data
    assert own.error_x.array is None and "paper" not in titles(figure)[0]
    np.testing.assert_allclose(own.y, range(3))


def test_labels_of_bars_are_never_markup_and_break_where_they_are_long():
    (bars,) = figure_bars(make_bars(), "case", {"own": "own PnL"}).data
    assert list(bars.customdata) == ["persistent", ESCAPED, "nobody"]
    long = make_bars().with_columns(case=pl.lit("adaptive & slow, a share of 0.5, risk aversion 2"))
    (bars,) = figure_bars(long, "case", {"own": "own PnL"}).data
    assert bars.customdata[0].replace("<br>", " ") == "adaptive &amp; slow, a share of 0.5, risk aversion 2"
    assert max(map(len, bars.customdata[0].split("<br>"))) <= 26 + len("amp;")


# --- All of them ---

FIGURES = {
    "lines": lambda: figure_lines(make_lines(), "step", PANELS, "case", levels={"best": 20.0}),
    "no lines": lambda: figure_lines(make_lines(cases=[]), "step", PANELS, "case", levels={"best": 20.0}),
    "distributions": lambda: figure_distributions(make_steps(), KINDS, "case"),
    "no distributions": lambda: figure_distributions(make_steps().clear(), KINDS, "case"),
    "bars": lambda: figure_bars(make_bars(), "case", {"own": "own"}, marks={"own": "printed"}),
    "no bars": lambda: figure_bars(make_bars().clear(), "case", {"own": "own"}, marks={"own": "printed"}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_strict_json_of_a_stated_height(name):
    check_json(FIGURES[name]())


@pytest.mark.parametrize("name", FIGURES)
def test_every_color_has_a_counterpart_on_dark_pages(name):
    check_colors(FIGURES[name]())
