"""Coverage of the 95% intervals of `evaluate` on recorded data, over simulated histories whose true values are known.

    python benchmarks/coverage.py --out coverage.jsonl

Every history is a martingale, so one unit held earns 0 on average, per step and per episode, and has a Sharpe ratio
of 0. Each history is read and evaluated as a user's would be. The results of a history are one line of the file; those
that are there already are kept, so that the command resumes.

    one-price   bars of one price             bid-ask     bars of bid and ask, at a constant spread
    clusters    bars of one price whose volatility clusters (GARCH)
    pass        one price, one pass through the history
    model       paths of the Heston model of bars, from random bars of the history, with parameters of the prior as
                before a first fit: a fit takes minutes, and like the prior it has no drift

Coverage should be from 90 to 98%.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import twosided as ts
from twosided.bars.calibrated import heston_bars_from_fits
from twosided.bars.source import BarSource
from twosided.core.blocks import history_blocks
from twosided.core.formatting import interval
from twosided.core.records import find
from twosided.data.bar_files import read_bars, write_bars
from twosided.data.bars import OHLC, OHLC_FIELDS, Bars

KINDS = ("one-price", "bid-ask", "clusters", "pass", "model")
METRICS = ("pnl_total", "episode_pnl_total", "sharpe")
STD, SUBSTEPS, HALF_SPREAD = 5e-4, 10, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("coverage.jsonl"), help="file of the results")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of data")
    parser.add_argument("--histories", type=int, default=200, help="histories of each kind")
    parser.add_argument("--bars", type=int, default=3000, help="minutes of a history")
    parser.add_argument("--window", type=int, default=60, help="steps of an episode")
    parser.add_argument("--steps", type=int, default=200_000, help="evaluation steps")
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    keys = {(row["kind"], row["history"]) for row in done}
    with options.out.open("a") as file:
        for kind in options.kinds:
            todo = [i for i in range(options.histories) if (kind, i) not in keys]
            for i in todo:
                started = time.perf_counter()
                row = {"kind": kind, "history": i, **measured(kind, i, options)}
                done.append(row)
                print(json.dumps(row), file=file, flush=True)
                if i % 20 == 0:
                    print(f"{kind} {i}: {time.perf_counter() - started:.1f} s", flush=True)
    for kind in options.kinds:
        for line in report(kind, [row for row in done if row["kind"] == kind]):
            print(line)


def measured(kind: str, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Evaluate one unit held on one history; the value, error and interval of each metric."""
    horizon = options.window
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        write_bars(path, martingale(seed, options.bars, kind == "clusters", kind == "bid-ask"))
        source: BarSource
        if kind == "model":
            source = heston_bars_from_fits(read_bars(path), [])
        else:
            window = None if kind == "pass" else options.window
            source = ts.RecordedBars.of(read_bars(path), window)
            horizon = options.bars - 2 if kind == "pass" else horizon
        scenario = ts.Scenario(ts.BarsMarket(source=source), (), horizon=horizon)
        steps = horizon if kind == "pass" else options.steps
        records = ts.evaluate(scenario, {"hold": ts.BuyAndHold(1.0)}, seed=seed, steps=steps)
    found = {name: find(records, "hold", name) for name in METRICS}
    blocks = history_blocks(scenario)
    return {"blocks": blocks.number if blocks else None} | {
        name: [record.value, record.error, *interval(record)] for name, record in found.items()
    }


def martingale(seed: int, number: int, clusters: bool, quotes: bool) -> Bars:
    """Bars of a price with relative steps of mean 0, of one price or of bid and ask."""
    rng = np.random.default_rng(seed)
    normal, scale = rng.standard_normal((number, SUBSTEPS)) / SUBSTEPS**0.5, np.ones(number)
    if clusters:
        variance = 1.0
        for i, bar in enumerate(normal.sum(1)):
            scale[i] = variance**0.5
            variance = 0.02 + variance * (0.9 + 0.08 * bar**2)
    price = 100 * (1 + STD * scale[:, None] * normal).ravel().cumprod().reshape(number, SUBSTEPS)
    open = np.append(100.0, price[:-1, -1])
    path = np.column_stack([open, price])
    mid = OHLC(open, path.max(1), path.min(1), price[:, -1])
    sides = [None, None]
    if quotes:
        sides = [OHLC(*((1 + s * HALF_SPREAD) * getattr(mid, f) for f in OHLC_FIELDS)) for s in (-1, 1)]
    return Bars(1.7e9 // 60 * 60 + 60.0 * np.arange(number), mid, 60.0, *sides)


def report(kind: str, rows: list[dict]) -> Iterator[str]:
    """Coverage of each metric, and the ratio of the mean error to the spread of the values."""
    for name in METRICS:
        value, error, low, high = np.array([row[name] for row in rows], float).T
        covered = 100 * np.mean((low <= 0) & (high >= 0) & np.isfinite(error))
        ratio = np.sqrt(np.nanmean(error**2)) / value.std()
        yield (
            f"{kind:10} {name:18} {len(rows)} histories, {np.isnan(error).sum()} without an error: "
            f"coverage {covered:.1f}%, error over spread {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
