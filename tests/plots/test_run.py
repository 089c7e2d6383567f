"""Figures show the numbers that they were given, in colours that have a twin for the dark."""

import json
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from support.results import make_curves, make_trace

from twosided.core.records import Record
from twosided.plots import (
    figure_earnings,
    figure_episode,
    figure_epsilon,
    figure_learning,
    figure_markouts,
    figure_skew,
)
from twosided.plots.style import GRID, PAPER, TWINS, dark_twins


def make_records(cases=("mean of seeds", "persistent"), fees=0.0):
    parts = {"spread": 0.9, "hedge": -0.1, "inventory": 0.05, "fees": -fees}
    parts["total"] = sum(parts.values())
    return [Record(case, 0, f"pnl_{part}", value, 0.01) for case in cases for part, value in parts.items()]


def named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def lines_at(figure, axis):
    """Where straight lines stand across an axis."""
    return sorted(
        shape[f"{axis}0"] for shape in figure.layout.shapes if shape[f"{axis}0"] == shape[f"{axis}1"]
    )


# --- How it learned ---


def test_learning_draws_a_line_a_seed_times_100():
    figure = figure_learning(make_curves(), supremum=0.9)
    for seed in range(3):
        pnl, gap = named(figure, f"seed {seed}")
        own = make_curves().filter(pl.col("seed") == seed)
        np.testing.assert_allclose(pnl.y, 100 * own["eval_pnl"].to_numpy())
        np.testing.assert_array_equal(pnl.x, own["timesteps"].to_numpy())
        np.testing.assert_allclose(gap.y, np.maximum(own["optimality_gap"].to_numpy(), 0.1))
    assert lines_at(figure, "y") == [pytest.approx(90)]
    assert figure.layout.yaxis2.type == "log"


def test_learning_draws_what_is_at_the_optimum_or_better_at_the_least_gap():
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


def test_many_seeds_share_colours_but_all_are_drawn():
    assert len(figure_learning(make_curves(seeds=20)).data) == 40


# --- What it earns ---


def test_earnings_are_the_parts_and_the_total_with_its_interval():
    figure = figure_earnings(make_records(), ["persistent", "mean of seeds", "nobody"], supremum=0.94)
    bars = {trace.name: trace for trace in figure.data if trace.type == "bar"}
    assert set(bars) == {"spread", "hedge", "inventory"}, "fees that nobody pays are left out"
    assert list(bars["spread"].y) == ["persistent", "mean of seeds"]
    np.testing.assert_allclose(bars["hedge"].x, -10)
    (total,) = named(figure, "total")
    np.testing.assert_allclose(total.x, sum(np.asarray(bar.x) for bar in bars.values()))
    np.testing.assert_allclose(total.error_x.array, 1.959964)
    assert lines_at(figure, "x") == [pytest.approx(94)]


def test_earnings_show_fees_that_someone_pays():
    figure = figure_earnings(make_records(fees=0.02), ["persistent"])
    np.testing.assert_allclose(named(figure, "fees")[0].x, -2)
    assert not figure.layout.shapes


def test_a_case_is_never_markup():
    case = "<a href='x'>b</a> & c"
    figure = figure_earnings(make_records(cases=[case]), [case])
    assert named(figure, "total")[0].y == ("&lt;a href=&#x27;x&#x27;&gt;b&lt;/a&gt; &amp; c",)


# --- How it quotes ---


def test_epsilons_are_shares_of_steps():
    trace = make_trace(paths=200)
    figure = figure_epsilon(trace, -0.25, None)
    bid, ask = named(figure, "maker")
    own = trace.filter(pl.col("maker") == 0)
    for bars, side in ((bid, "buy"), (ask, "sell")):
        # All of it, but for the tail beyond the 99.8% that the bins and their margin are made for.
        assert bars.y.sum() == pytest.approx(100, abs=0.2)
        # A histogram keeps a mean to half the width of a bar.
        mean = (bars.x * bars.y).sum() / bars.y.sum()
        assert mean == pytest.approx(own[f"epsilon_{side}"].mean(), abs=bars.width[0] / 2)


def test_a_competitor_that_never_moves_is_a_line_and_one_that_does_is_a_curve():
    figure = figure_epsilon(make_trace(paths=200), -0.25, None)
    assert lines_at(figure, "x") == [-0.25, 0.25], "the optimal bid and the competitor's only bid"
    (curve,) = named(figure, "competitor")
    assert curve.yaxis == "y2", "it moves on the ask only"
    inside = np.abs(curve.x) < 0.45
    # 8,000 draws over [-0.5, 0.5]: 4 standard errors of a bar's share, which is small.
    share = 100 * (curve.x[1] - curve.x[0])
    np.testing.assert_allclose(curve.y[inside], share, atol=4 * np.sqrt(share / 100 / 8000) * 100)


def test_several_competitors_are_told_apart_by_number():
    names = {trace.name for trace in figure_epsilon(make_trace(makers=3)).data}
    assert names == {"maker", "competitor 1", "competitor 2"}


# --- Skew ---


def test_skew_is_the_mean_at_each_inventory():
    trace = make_trace(paths=100).with_columns(
        epsilon_buy=0.01 * pl.col("inventory"), epsilon_sell=-0.02 * pl.col("inventory")
    )
    figure = figure_skew(trace, 0.0, -0.1)
    for name, slope in (("bid ε", 0.01), ("ask ε", -0.02)):
        (line,) = named(figure, name)
        width = line.x[1] - line.x[0]
        # The mean inventory of a bin lies within it.
        np.testing.assert_allclose(line.y, slope * line.x, atol=abs(slope) * width / 2 + 1e-9)
    (time,) = named(figure, "steps")
    assert time.y.sum() == pytest.approx(100)
    assert lines_at(figure, "y") == [-0.1, 0.0]


def test_skew_leaves_out_inventories_that_were_hardly_ever_held():
    trace = make_trace(paths=100).filter(pl.col("maker") == 0)
    rare = np.zeros(len(trace))
    rare[: len(rare) // 100] = 300.0
    figure = figure_skew(trace.with_columns(inventory=pl.Series(rare + trace["inventory"].to_numpy())))
    (line,) = named(figure, "bid ε")
    counts = np.histogram(rare + trace["inventory"].to_numpy(), bins=len(figure.data[-1].x))[0]
    assert len(line.x) < len(counts), "empty bins between the two have no mean"
    assert np.isfinite(line.y).all()


def test_skew_of_a_maker_that_holds_nothing():
    figure = figure_skew(make_trace().with_columns(inventory=pl.lit(0.0)))
    (line,) = named(figure, "bid ε")
    assert list(line.x) == [0]


# --- One episode ---


def test_an_episode_shows_its_own_steps():
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


def test_an_episode_shows_fees_that_are_paid():
    (fees,) = named(figure_episode(make_trace(fees=0.5)), "fees")
    np.testing.assert_allclose(fees.y, -0.5 * np.arange(1, 41))


# --- All of them ---

FIGURES = {
    "learning": lambda: figure_learning(make_curves(), 0.9),
    "earnings": lambda: figure_earnings(make_records(fees=0.1), ["persistent"], 0.9),
    "epsilon": lambda: figure_epsilon(make_trace(makers=3), 0.0, 0.1),
    "skew": lambda: figure_skew(make_trace(), 0.0, 0.1),
    "episode": lambda: figure_episode(make_trace(fees=0.1)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_colour_has_a_twin_for_the_dark(name):
    text = FIGURES[name]().to_json().lower()
    colours = set(re.findall(r"#[0-9a-f]{6}\b", text)) | set(
        re.findall(r"rgba\([0-9, ]+,(?=[0-9.]+\))", text)
    )
    assert colours - {"rgba(0,0,0,"} <= set(dark_twins()), "nothing but the clear background stays as it is"
    assert len(colours) > 4


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_strict_json(name):
    """A browser refuses NaN and infinities."""

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(FIGURES[name]().to_json(), parse_constant=refuse)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_stand_out_from_the_page(dark):
    """WCAG 2.2, 1.4.11: 3:1 for graphics."""

    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    page = luminance(TWINS[PAPER] if dark else PAPER)
    for colour in set(TWINS) - {PAPER, GRID}:
        shade = luminance(TWINS[colour] if dark else colour)
        ratio = (max(page, shade) + 0.05) / (min(page, shade) + 0.05)
        assert ratio >= 3, colour


def test_figures_and_page_do_without_jax():
    """`show` is quick because nothing here imports JAX."""
    code = "import sys, twosided.plots, twosided.report.page; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- What trades have earned since ---


def make_markouts(cases=("careful",)):
    rows = [
        (case, maker, lag, 0.05 - 0.01 * min(lag, 3) - 0.005 * maker, 0.001 * lag)
        for case in cases
        for maker in (0, 1)
        for lag in range(6)
    ]
    return pl.DataFrame(rows, schema=["case", "maker", "lag", "per_unit", "per_unit_error"], orient="row")


def test_markouts_are_lines_in_their_intervals():
    frame = make_markouts()
    figure = figure_markouts(frame.sample(fraction=1.0, shuffle=True, seed=0))
    for maker, name in ((0, "careful"), (1, "competitor")):
        (line,) = named(figure, name)
        own = frame.filter(pl.col("maker") == maker)
        np.testing.assert_array_equal(line.x, range(6))
        np.testing.assert_allclose(line.y, 100 * own["per_unit"].to_numpy())
        band = figure.data[figure.data.index(line) - 1]
        np.testing.assert_allclose(
            band.y[:6] - band.y[:5:-1], 2 * 195.9964 * own["per_unit_error"].to_numpy(), atol=1e-9
        )
    assert figure.layout.annotations[0].text.startswith("PnL a unit × 100")


def test_markouts_of_several_policies_are_theirs_alone():
    figure = figure_markouts(make_markouts(("careful", "<bold>")))
    names = [trace.name for trace in figure.data if trace.name]
    assert names == ["careful", "&lt;bold&gt;"]
