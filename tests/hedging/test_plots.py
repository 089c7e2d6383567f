"""Figures of hedgers show the numbers of the trace, and the trace shows those of the market."""

import numpy as np
import polars as pl
import pytest

from twosided.core.evaluation import trace
from twosided.core.scenario import Scenario
from twosided.hedging.hedgers import FullHedger, PortfolioHedger
from twosided.hedging.market import HedgingMarket
from twosided.hedging.plots import ASSETS, figure_hedging
from twosided.hedging.portfolio import PortfolioMarket
from twosided.plots import figure_side_by_side
from twosided.prices.assets import EqualCorrelation

NUM_STEPS = 4


def example_trace(num_assets=0, skew=True):
    """Return four steps with simple sums, and a second path and maker that must not be drawn."""
    columns = {
        "mid": [100.0, 101.0, 99.0, 100.0],
        "bid": [99.8, 100.8, 98.8, 99.8],
        "ask": [100.2, 101.2, 99.2, 100.2],
        "exchange_bid": [99.9, 100.9, 98.9, 99.9],
        "exchange_ask": [100.1, 101.1, 99.1, 100.1],
        "bought": [10.0, 0.0, 0.0, 4.0],
        "sold": [0.0, 0.0, 5.0, 0.0],
        "client_position": [10.0, 10.0, 5.0, 9.0],
        "hedge_position": [0.0, -8.0, -8.0, -5.0],
        "net_position": [10.0, 2.0, -3.0, 4.0],
        "inventory": [0.0, 10.0, 2.0, -3.0],
        "skew": [0.0, 0.5, -3.0, 1.0],
        "pnl_spread": [2.0, 0.0, 1.0, 0.8],
        "pnl_hedge": [0.0, -0.8, 0.0, -0.3],
        "pnl_inventory": [0.0, 10.0, -4.0, -3.0],
        "pnl_fees": [0.0] * NUM_STEPS,
        "pnl_total": [2.0, 9.2, -3.0, -2.5],
    }
    for i in range(num_assets):
        columns[f"asset_mid_{i}"] = [100.0 + i] * NUM_STEPS
        columns[f"hedge_position_{i}"] = [0.0, 3.0 - i, -3.0, -3.0]
    if not skew:
        del columns["skew"]
    own = pl.DataFrame(
        {"path": [0] * NUM_STEPS, "time": range(NUM_STEPS), "maker": [0] * NUM_STEPS} | columns
    )
    zeros = [pl.col(name) * 0 for name in columns]
    others = [own.with_columns(*zeros, pl.lit(1, pl.Int64).alias(name)) for name in ("path", "maker")]
    return pl.concat([own, *others])


def line(figure, name):
    (trace_of_line,) = [trace for trace in figure.data if trace.name == name]
    return np.asarray(trace_of_line.y)


def titles(figure):
    return " ".join(note.text for note in figure.layout.annotations)


def test_dashboard_shows_positions_by_origin_and_cumulative_pnl():
    figure = figure_hedging(example_trace())
    np.testing.assert_allclose(line(figure, "midprice"), [100, 101, 99, 100])
    np.testing.assert_allclose(line(figure, "client bid"), [99.8, 100.8, 98.8, 99.8])
    np.testing.assert_allclose(line(figure, "hedge ask"), [100.1, 101.1, 99.1, 100.1])
    np.testing.assert_allclose(line(figure, "net"), [10, 2, -3, 4])
    np.testing.assert_allclose(line(figure, "inventory"), [0, 10, 6, 3])
    np.testing.assert_allclose(line(figure, "total"), [2, 11.2, 8.2, 5.7])
    np.testing.assert_allclose(line(figure, "skew"), [0, 0.5, -1, 1], err_msg="clipped as by the market")
    trades, positions = (np.asarray(line.y) for line in figure.data if line.name == "clients")
    np.testing.assert_allclose(trades, [10, 0, -5, 4])
    np.testing.assert_allclose(positions, [10, 10, 5, 9])
    pnl = np.array([2.0, 9.2, -3.0, -2.5])
    assert f"Sharpe ratio per step: {pnl.mean() / pnl.std():.3f}" in titles(figure)
    assert not [line for line in figure.data if line.name == "fees"], "there are none"


def test_spread_panel_shows_mean_half_spreads_charged_and_paid():
    figure = figure_hedging(example_trace())
    np.testing.assert_allclose(line(figure, "charged"), [0.2, 0.2, 0.2, 3.8 / 19])
    np.testing.assert_allclose(line(figure, "paid"), [np.nan, 0.1, 0.1, 1.1 / 11])
    np.testing.assert_allclose(line(figure, "hedge half-spread"), 0.1, atol=1e-12)


def test_mean_half_spread_is_over_the_window():
    episode = example_trace().filter((pl.col("path") == 0) & (pl.col("maker") == 0))
    long = pl.concat(
        [
            episode.head(1).with_columns(time=pl.lit(t, pl.Int64), pnl_spread=pl.lit(1.0 * (t < 60)))
            for t in range(120)
        ]
    )
    charged = line(figure_hedging(long), "charged")
    assert charged[59] == pytest.approx(0.1) and charged[84] == pytest.approx(0.05) and charged[109] == 0


def test_skew_panel_is_omitted_without_skew():
    with_skew, without = figure_hedging(example_trace()), figure_hedging(example_trace(skew=False))
    assert len(list(with_skew.select_yaxes())) == len(list(without.select_yaxes())) + 1
    assert "skew" in titles(with_skew) and "skew" not in titles(without)


def test_dashboard_of_portfolio_shows_every_asset():
    figure = figure_hedging(example_trace(num_assets=2))
    np.testing.assert_allclose(line(figure, "asset 2"), 101)
    np.testing.assert_allclose(line(figure, "hedge in asset 1"), [0, 3, -3, -3])
    np.testing.assert_allclose(line(figure, "hedge in asset 2"), [0, 2, -3, -3])
    # |3| + |2|, then |-6| + |-5|: 0.8 over 5 units, 1.1 over 16.
    np.testing.assert_allclose(line(figure, "paid"), [np.nan, 0.16, 0.05, 1.1 / 16])
    assert "asset 2" in titles(figure)


def test_dashboard_of_many_assets_shows_their_total_hedge():
    figure = figure_hedging(example_trace(num_assets=len(ASSETS) + 1))
    assert "asset 1" not in titles(figure), "too many assets for the key"
    hedge = [np.asarray(line.y) for line in figure.data if line.name == "hedge"]
    assert any(np.array_equal(y, example_trace()["hedge_position"][:NUM_STEPS]) for y in hedge)


def test_side_by_side_shows_every_maker_and_its_sharpe_ratio():
    better = example_trace().with_columns(pnl_total=pl.col("pnl_total") + 5)
    short = example_trace().filter(pl.col("time") < 2)  # terminated by the market
    traces = {"a<b": example_trace(), "better": better, "ended": short}
    figure = figure_side_by_side(traces, position="net_position")
    position, pnl = (np.asarray(line.y) for line in figure.data if line.name == "better")
    np.testing.assert_allclose(position, [10, 2, -3, 4])
    np.testing.assert_allclose(pnl, [7, 21.2, 23.2, 25.7])
    assert [len(line.x) for line in figure.data if line.name == "ended"] == [2, 2]
    sharpe = np.array([7.0, 14.2, 2.0, 2.5]).mean() / np.array([7.0, 14.2, 2.0, 2.5]).std()
    assert f"better {sharpe:.3f}" in titles(figure) and "a&lt;b" in titles(figure)


def test_trace_of_hedging_market_is_consistent():
    steps = trace(Scenario(HedgingMarket(), (), horizon=12), FullHedger(), paths=2)
    for _, own in steps.group_by("path"):
        client, hedge, net = (own[f"{kind}_position"].to_numpy() for kind in ("client", "hedge", "net"))
        np.testing.assert_allclose(client, np.cumsum(own["bought"] - own["sold"]), atol=1e-3)
        np.testing.assert_allclose(net, client + hedge, atol=1e-3)
        np.testing.assert_allclose(own["inventory"][1:], net[:-1], atol=1e-3)
        np.testing.assert_allclose(
            np.diff(hedge, prepend=0), np.clip(own["hedge"], -32, 32), atol=1e-3, err_msg="executed hedges"
        )
        charged = np.where(own["bought"] > 0, own["mid"] - own["bid"], own["ask"] - own["mid"])
        np.testing.assert_allclose(own["pnl_spread"], charged * (own["bought"] + own["sold"]), atol=2e-3)
    assert figure_hedging(steps).data


def test_trace_of_portfolio_market_is_consistent():
    weights = (0.25, 0.75)
    market = PortfolioMarket(EqualCorrelation(num_assets=2), weights)
    steps = trace(Scenario(market, (), horizon=12), PortfolioHedger(weights), paths=1)
    mids = [steps[f"asset_mid_{i}"].to_numpy() for i in range(2)]
    hedges = [steps[f"hedge_position_{i}"].to_numpy() for i in range(2)]
    np.testing.assert_allclose(steps["mid"], 0.25 * mids[0] + 0.75 * mids[1], rtol=1e-6)
    value = steps["client_position"].to_numpy() * steps["mid"].to_numpy()
    value += sum(h * m for h, m in zip(hedges, mids, strict=True))
    np.testing.assert_allclose(steps["net_position"], value / 100, atol=1e-3)
    np.testing.assert_allclose(steps["hedge_position"], sum(hedges), atol=1e-3)
    assert (steps["exchange_bid"] < steps["mid"]).all() and (steps["exchange_ask"] > steps["mid"]).all()
    assert figure_hedging(steps).data
