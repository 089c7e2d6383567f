"""Traces, training curves and records with random or fixed values."""

import numpy as np
import polars as pl

from twosided.core.records import Record


def make_trace(paths=6, steps=40, makers=2, fees=0.0, seed=0):
    """Return a trace of random quotes, trades and PnL; competitors always quote ε_b = 0.25."""
    rng = np.random.default_rng(seed)
    path, time, maker = (axis.ravel() for axis in np.indices((paths, steps, makers)))
    n = len(path)
    mid = 100 + rng.normal(size=n)
    epsilon_buy = np.where(maker == 0, rng.uniform(-0.4, 0.2, n), 0.25)
    epsilon_sell = rng.uniform(-0.5, 0.5, n)
    columns = {
        "path": path,
        "time": time,
        "maker": maker,
        "mid": mid,
        "bid": mid * (1 - 4e-4 * (1 + epsilon_buy)),
        "ask": mid * (1 + 4e-4 * (1 + epsilon_sell)),
        "inventory": rng.integers(-20, 21, n).astype(float),
        "epsilon_buy": epsilon_buy,
        "epsilon_sell": epsilon_sell,
        "bought": rng.integers(0, 9, n).astype(float),
        "sold": rng.integers(0, 9, n).astype(float),
        "pnl_spread": rng.uniform(0, 1, n),
        "pnl_hedge": -rng.uniform(0, 0.1, n),
        "pnl_inventory": rng.normal(size=n),
        "pnl_fees": np.full(n, -fees),
    }
    total = pl.sum_horizontal("pnl_spread", "pnl_hedge", "pnl_inventory", "pnl_fees")
    return pl.DataFrame(columns).with_columns(pnl_total=total)


def make_curves(seeds=3, gap=True):
    rows = [(seed, 1000 * k, 0.9 - 0.5 / k + 0.01 * seed) for seed in range(seeds) for k in range(1, 6)]
    curves = pl.DataFrame(rows, schema=["seed", "timesteps", "eval_pnl"], orient="row")
    return curves.with_columns(optimality_gap=100 * (1 - pl.col("eval_pnl") / 0.9)) if gap else curves


def make_records(case="seed 0", maker=0, **changes):
    """Return the records that `evaluate` returns for a maker against one competitor."""
    values = {
        "pnl_spread": 0.912,
        "pnl_hedge": -0.0421,
        "pnl_inventory": -0.0004,
        "pnl_fees": 0.0,
        "pnl_total": 0.8695,
        "episode_pnl_total": 173.9,
        "excess_total_over_1": 0.7512,
        "excess_fees_over_1": 0.0,
        "market_share": 0.9712,
        "sharpe": 0.1612,
        "epsilon_buy_mean": -0.0512,
        "epsilon_buy_std": 0.0213,
        "inventory_mean": -0.25,
        "inventory_std": 44.9,
        "optimality_gap": 7.5,
    } | changes
    records = [Record(case, maker, metric, value, abs(value) / 50) for metric, value in values.items()]
    return [
        *records,
        Record(case, maker, "inventory_min", -238.0),
        Record(case, maker, "inventory_max", 1260.0),
    ]
