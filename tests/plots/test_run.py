"""Figures of a run show the numbers that they are given, in colors for light and dark pages."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from support.figures import check_colors, check_json, lines_at, named
from support.results import make_curves, make_trace

from twosided.core.records import Record
from twosided.plots import (
    figure_by_inventory,
    figure_earnings,
    figure_episode,
    figure_learning,
    figure_markouts,
    figure_side_by_side,
)
from twosided.plots.run import Curve
from twosided.plots.style import BUY, GRID, PAPER, TWINS


def make_records(cases=("mean of seeds", "persistent"), fees=0.0):
    parts = {"spread": 0.9, "hedge": -0.1, "inventory": 0.05, "fees": -fees}
    parts["total"] = sum(parts.values())
    return [Record(case, 0, f"pnl_{part}", value, 0.01) for case in cases for part, value in parts.items()]


# --- Learning curves ---


def test_learning_draws_a_line_per_seed_in_the_given_unit():
    figure = figure_learning(make_curves(), 0.9, scale=100.0, unit="bp per <step>")
    for seed in range(3):
        pnl, gap = named(figure, f"seed {seed}")
        own = make_curves().filter(pl.col("seed") == seed)
        np.testing.assert_allclose(pnl.y, 100 * own["eval_pnl"].to_numpy())
        np.testing.assert_array_equal(pnl.x, own["timesteps"].to_numpy())
        np.testing.assert_allclose(gap.y, np.maximum(own["optimality_gap"].to_numpy(), 0.1))
    assert lines_at(figure, "y") == [pytest.approx(90)]
    assert figure.layout.yaxis2.type == "log"
    texts = [note.text for note in figure.layout.annotations]
    assert texts[0].startswith("PnL, bp per &lt;step&gt;") and texts[-1] == "exact optimum 90"


def test_learning_draws_gaps_at_or_below_zero_at_the_smallest_gap():
    curves = make_curves(seeds=1).with_columns(optimality_gap=pl.Series([30.0, 1.0, 0.05, 0.0, -2.0]))
    np.testing.assert_allclose(figure_learning(curves, 0.9).data[1].y, [30, 1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("gap", ["absent", "null"])
def test_learning_without_an_optimum_is_one_panel(gap):
    curves = make_curves(gap=False)
    if gap == "null":
        curves = curves.with_columns(optimality_gap=pl.lit(None))
    figure = figure_learning(curves)
    assert len(figure.data) == 3 and len(list(figure.select_yaxes())) == 1
    assert not figure.layout.shapes


def test_many_seeds_share_colors_but_all_are_drawn():
    assert len(figure_learning(make_curves(seeds=20)).data) == 40


# --- PnL by source ---


def test_earnings_are_the_parts_and_the_total_with_its_interval():
    figure = figure_earnings(
        make_records(), ["persistent", "mean of seeds", "nobody"], 0.94, scale=100.0, unit="bp per step"
    )
    bars = {trace.name: trace for trace in figure.data if trace.type == "bar"}
    assert set(bars) == {"spread", "hedge", "inventory"}, "parts that are 0 for all are left out"
    assert list(bars["spread"].y) == ["persistent", "mean of seeds"]
    np.testing.assert_allclose(bars["hedge"].x, -10)
    (total,) = named(figure, "total")
    np.testing.assert_allclose(total.x, sum(np.asarray(bar.x) for bar in bars.values()))
    np.testing.assert_allclose(total.error_x.array, 1.959964)
    assert lines_at(figure, "x") == [pytest.approx(94)]


def test_earnings_show_fees_that_someone_pays():
    figure = figure_earnings(make_records(fees=0.02), ["persistent"])
    np.testing.assert_allclose(named(figure, "fees")[0].x, -0.02)
    assert not figure.layout.shapes


def test_case_is_never_markup():
    case = "<a href='x'>b</a> & c"
    figure = figure_earnings(make_records(cases=[case]), [case])
    assert named(figure, "total")[0].y == ("&lt;a href=&#x27;x&#x27;&gt;b&lt;/a&gt; &amp; c",)


# --- One episode ---


def test_episode_shows_its_own_steps():
    trace = make_trace()
    own = trace.filter((pl.col("path") == 2) & (pl.col("maker") == 0)).sort("time")
    figure = figure_episode(trace.sample(fraction=1, shuffle=True, seed=1), path=2)
    shown = {trace.name: trace for trace in figure.data}
    np.testing.assert_array_equal(shown["midprice"].y, own["mid"].to_numpy())
    np.testing.assert_allclose(shown["bid"].y, -4 * (1 + own["epsilon_buy"].to_numpy()), rtol=1e-6)
    np.testing.assert_allclose(shown["ask"].y, 4 * (1 + own["epsilon_sell"].to_numpy()), rtol=1e-6)
    np.testing.assert_allclose(shown["competitor’s bid"].y, -4 * 1.25, rtol=1e-6)
    np.testing.assert_array_equal(shown["bought"].y, own["bought"].to_numpy())
    np.testing.assert_array_equal(shown["sold"].y, -own["sold"].to_numpy())
    position, gained = named(figure, "inventory")
    np.testing.assert_array_equal(position.y, own["inventory"].to_numpy())
    np.testing.assert_allclose(gained.y, own["pnl_inventory"].to_numpy().cumsum())
    assert (position.yaxis, gained.yaxis) == ("y4", "y5")
    assert "fees" not in shown
    earned = own.select(pl.sum("pnl_spread", "pnl_hedge", "pnl_inventory")).sum_horizontal().item()
    assert shown["total"].y[-1] == pytest.approx(earned)


def test_episode_shows_fees_that_are_paid():
    (fees,) = named(figure_episode(make_trace(fees=0.5)), "fees")
    np.testing.assert_allclose(fees.y, -0.5 * np.arange(1, 41))


def test_quotes_of_an_episode_are_relative_to_the_midprice_or_in_currency():
    own = make_trace().filter((pl.col("path") == 0) & (pl.col("maker") == 0)).sort("time")
    figure = figure_episode(make_trace(), currency="ticks", relative=False)
    (bid,) = named(figure, "bid")
    np.testing.assert_allclose(bid.y, own["bid"] - own["mid"], rtol=1e-9)
    assert "quotes relative to the midprice, ticks" in figure.layout.annotations[1].text


def test_side_by_side_draws_the_given_positions_of_every_maker():
    traces = {"a": make_trace(), "b<": make_trace(seed=1)}
    figure = figure_side_by_side(traces, position="bought", currency="ticks")
    held, pnl = named(figure, "b&lt;")
    own = traces["b<"].filter((pl.col("path") == 0) & (pl.col("maker") == 0)).sort("time")
    np.testing.assert_array_equal(held.y, own["bought"])
    np.testing.assert_allclose(pnl.y, own["pnl_total"].cum_sum())
    sharpe = own["pnl_total"].to_numpy().mean() / own["pnl_total"].to_numpy().std()
    assert f"b&lt; {sharpe:.3f}".replace("-", "−") in figure.layout.annotations[2].text


# --- By inventory ---

BID = {"bid_offset": Curve("bid", BUY)}


def make_offsets(inventory):
    inventory = np.asarray(inventory, float)
    return pl.DataFrame({"maker": 0, "inventory": inventory, "bid_offset": 2 + 0.1 * inventory})


def test_few_whole_inventories_have_a_bin_each():
    figure = figure_by_inventory(make_offsets(np.repeat([-2, 0, 1], 50)), BID, "offset")
    (line,) = named(figure, "bid")
    np.testing.assert_array_equal(line.x, [-2, 0, 1])
    np.testing.assert_allclose(line.y, [1.8, 2.0, 2.1])
    np.testing.assert_allclose(named(figure, "steps")[0].y, [100 / 3, 0, 100 / 3, 100 / 3])


@pytest.mark.parametrize("scale", [0.01, 1000.0])
def test_bins_cover_fractional_inventories_of_any_size(scale):
    inventory = scale * np.random.default_rng(0).uniform(-1, 1, 20_000)
    (line,) = named(figure_by_inventory(make_offsets(inventory), BID, "offset"), "bid")
    assert len(line.x) == 25 and line.x[-1] == pytest.approx(0.97 * scale, rel=0.03)
    np.testing.assert_allclose(line.y, 2 + 0.1 * line.x, atol=0.01 * scale)


def test_missing_values_are_left_out_of_means():
    trace = make_offsets(np.repeat([0, 1], 50))
    placed = trace.with_columns(pl.when(pl.col("inventory") < 1).then("bid_offset").alias("bid_offset"))
    (line,) = named(figure_by_inventory(placed, BID, "offset"), "bid")
    assert list(line.x) == [0]
    none = trace.with_columns(bid_offset=pl.lit(None, pl.Float64))
    assert len(named(figure_by_inventory(none, BID, "offset"), "bid")[0].x) == 0


# --- All of them ---

FIGURES = {
    "learning": lambda: figure_learning(make_curves(), 0.9),
    "earnings": lambda: figure_earnings(make_records(fees=0.1), ["persistent"], 0.9),
    "side by side": lambda: figure_side_by_side({"a": make_trace(), "b": make_trace(seed=1)}),
    "by inventory": lambda: figure_by_inventory(make_offsets([0, 1, 1]), BID, "offset", levels=[2.0]),
    "episode": lambda: figure_episode(make_trace(fees=0.1)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_color_has_a_counterpart_on_dark_pages(name):
    check_colors(FIGURES[name]())


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_strict_json_of_a_stated_height(name):
    check_json(FIGURES[name]())


@pytest.mark.parametrize("dark", [False, True])
def test_colors_stand_out_from_the_page(dark):
    """WCAG 2.2, 1.4.11: 3:1 for graphics."""

    def luminance(color):
        channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    page = luminance(TWINS[PAPER] if dark else PAPER)
    for color in set(TWINS) - {PAPER, GRID}:
        shade = luminance(TWINS[color] if dark else color)
        ratio = (max(page, shade) + 0.05) / (min(page, shade) + 0.05)
        assert ratio >= 3, color


def test_figures_and_pages_do_not_import_jax():
    """Figures and pages can be used where JAX is not wanted, and load quickly."""
    code = "import sys, twosided.plots, twosided.report.pages; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- Markouts ---


def make_markouts(cases=("careful",)):
    rows = [
        (case, maker, lag, 0.05 - 0.01 * min(lag, 3) - 0.005 * maker, 0.001 * lag)
        for case in cases
        for maker in (0, 1)
        for lag in range(6)
    ]
    return pl.DataFrame(rows, schema=["case", "maker", "lag", "per_unit", "per_unit_error"], orient="row")


def test_markouts_are_lines_with_their_intervals():
    frame = make_markouts()
    figure = figure_markouts(
        frame.sample(fraction=1.0, shuffle=True, seed=0), scale=100.0, unit="bp per unit"
    )
    for maker, name in ((0, "careful"), (1, "competitor")):
        (line,) = named(figure, name)
        own = frame.filter(pl.col("maker") == maker)
        np.testing.assert_array_equal(line.x, range(6))
        np.testing.assert_allclose(line.y, 100 * own["per_unit"].to_numpy())
        band = figure.data[figure.data.index(line) - 1]
        np.testing.assert_allclose(
            band.y[:6] - band.y[:5:-1], 2 * 195.9964 * own["per_unit_error"].to_numpy(), atol=1e-9
        )
    assert figure.layout.annotations[0].text.startswith("PnL, bp per unit")


def test_markouts_of_several_policies_leave_out_competitors():
    figure = figure_markouts(make_markouts(("careful", "<bold>")))
    names = [trace.name for trace in figure.data if trace.name]
    assert names == ["careful", "&lt;bold&gt;"]
