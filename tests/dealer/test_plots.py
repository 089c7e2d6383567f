"""Figures of the dealer market show the numbers that they are given."""

import numpy as np
import polars as pl
import pytest
from support.figures import check_colors, check_json, lines_at, named, names, titles
from support.results import make_trace

from twosided.dealer.plots import figure_book, figure_epsilon, figure_skew

# --- Epsilon ---


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


def test_constant_competitor_is_a_line_and_another_is_a_curve():
    figure = figure_epsilon(make_trace(paths=200), -0.25, None)
    assert lines_at(figure, "x") == [-0.25, 0.25], "the optimal bid and the competitor's only bid"
    (curve,) = named(figure, "competitor")
    assert curve.yaxis == "y2", "it moves on the ask only"
    inside = np.abs(curve.x) < 0.45
    # 8,000 draws over [-0.5, 0.5]: 4 standard errors of a bar's share, which is small.
    share = 100 * (curve.x[1] - curve.x[0])
    np.testing.assert_allclose(curve.y[inside], share, atol=4 * np.sqrt(share / 100 / 8000) * 100)


def test_several_competitors_are_numbered():
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


def test_skew_leaves_out_rare_inventories():
    trace = make_trace(paths=100).filter(pl.col("maker") == 0)
    rare = np.zeros(len(trace))
    rare[: len(rare) // 100] = 300.0
    figure = figure_skew(trace.with_columns(inventory=pl.Series(rare + trace["inventory"].to_numpy())))
    (line,) = named(figure, "bid ε")
    counts = np.histogram(rare + trace["inventory"].to_numpy(), bins=len(figure.data[-1].x))[0]
    assert len(line.x) < len(counts), "empty bins between the two have no mean"
    assert np.isfinite(line.y).all()


def test_skew_of_a_maker_without_inventory_is_a_point():
    figure = figure_skew(make_trace().with_columns(inventory=pl.lit(0.0)))
    (line,) = named(figure, "bid ε")
    assert list(line.x) == [0]


# --- Exact skew ---


def make_skewed(steps=4000, seed=0):
    inventory = np.random.default_rng(seed).integers(-20, 21, steps).astype(float)
    quotes = {"epsilon_buy": -0.5 + 0.01 * inventory, "epsilon_sell": -0.01 * inventory}
    return pl.DataFrame({"maker": 0, "inventory": inventory} | quotes)


def make_exact(reach=100.0):
    z = np.linspace(reach, -reach, int(4 * reach) + 1)
    quotes = {"epsilon_buy": np.minimum(-0.5 + 0.02 * z, 1), "epsilon_sell": np.minimum(-0.02 * z, 1)}
    return pl.DataFrame({"inventory": z} | quotes)


def test_exact_skew_is_dashed_over_the_same_inventories():
    figure = figure_skew(make_skewed(), -0.5, 0.0, exact=make_exact())
    for quote, side in (("bid", "buy"), ("ask", "sell")):
        (learned,), (exact,) = named(figure, f"{quote} ε"), named(figure, f"{quote} ε, exact")
        assert exact.line.dash == "dash" and exact.line.color == learned.line.color
        half = (learned.x[1] - learned.x[0]) / 2
        assert learned.x[0] - half <= exact.x[0] <= learned.x[0] and np.all(np.diff(exact.x) > 0)
        assert learned.x[-1] <= exact.x[-1] <= learned.x[-1] + half
        given = dict(make_exact().select("inventory", f"epsilon_{side}").iter_rows())
        np.testing.assert_array_equal(exact.y, [given[z] for z in exact.x])
        low, high = figure.layout.yaxis.range
        assert low < exact.y.min() and exact.y.max() < high
    assert "dashed: exact" in titles(figure)[0]


def test_title_names_the_exact_skew_only_if_there_is_one():
    figure = figure_skew(make_skewed(), -0.5, 0.0)
    assert "exact" not in titles(figure)[0] and not any("exact" in name for name in names(figure))


def test_exact_skew_of_a_maker_without_inventory_is_a_point():
    (exact,) = named(
        figure_skew(make_skewed().with_columns(inventory=0.0), exact=make_exact().gather_every(4)),
        "bid ε, exact",
    )
    assert list(exact.x) == [0] and exact.mode == "markers"


# --- Book ---


def test_book_has_both_sides_at_their_prices():
    levels, volumes = 1e-4 * np.array([0.5, 1.5, 2.5]), np.array([0.2, 0.5, 0.4])
    figure = figure_book(levels, volumes, mid=200.0)
    bid, ask = figure.data
    np.testing.assert_allclose(bid.x, [199.99, 199.97, 199.95])
    np.testing.assert_allclose(ask.x, [200.01, 200.03, 200.05])
    for bars in (bid, ask):
        np.testing.assert_array_equal(bars.y, volumes)
        assert 0 < bars.width < 0.02, "bars a tick apart do not touch"
    assert lines_at(figure, "x") == [pytest.approx(199.99), 200.0, pytest.approx(200.01)]
    assert titles(figure)[1:] == ["bid 199.990", "ask 200.010"]
    assert figure.layout.yaxis.range[1] > 0.5


def test_sides_of_a_narrow_spread_do_not_overlap():
    bid, ask = figure_book(1e-4 * np.array([0.1, 1.1]), np.ones(2)).data
    assert bid.x[0] + bid.width / 2 < ask.x[0] - ask.width / 2


def test_book_of_one_level():
    bid, ask = figure_book(np.array([1e-4]), np.array([0.0])).data
    assert (list(bid.x), list(ask.x)) == ([99.99], [100.01])
    assert bid.width == pytest.approx(0.016)


# --- All of them ---

FIGURES = {
    "epsilon": lambda: figure_epsilon(make_trace(makers=3), 0.0, 0.1),
    "skew": lambda: figure_skew(make_skewed(), 0.0, 0.1, exact=make_exact()),
    "book": lambda: figure_book(np.array([1e-4, 2e-4]), np.array([0.3, 0.4])),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_color_has_a_counterpart_on_dark_pages(name):
    check_colors(FIGURES[name]())


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_strict_json_of_a_stated_height(name):
    check_json(FIGURES[name]())
