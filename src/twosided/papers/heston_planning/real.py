"""On real bars, which the reader points to: trained on the first part, chosen by the second, tested on the last.

Nothing is known ahead: parts are one after the other in time, fits know the bars of their windows alone, an order can
fill in the bar after it at the earliest, and only if the price goes through it. There are no fees and no rebates; bid
and ask are those of the bars where they have both. PnL is that of one unit, in basis points of the price.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from twosided.bars.heston_bars import HestonBars
from twosided.bars.market import BarsMarket
from twosided.bars.source import RecordedBars
from twosided.core.bootstrap import block_length, block_resamples
from twosided.core.errors import Refusal
from twosided.core.evaluation import evaluate, trace
from twosided.core.policy import Policy
from twosided.core.records import Record, find
from twosided.core.scenario import Scenario
from twosided.data.bar_files import read_bars
from twosided.data.bars import Bars
from twosided.learn.train import Progress, policies_of, train
from twosided.limit_orders.calibration import fit_fills
from twosided.limit_orders.policies import BuyAndHold, DoNothing, FixedOffset
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcome,
    Outcomes,
    Row,
    Table,
    Tell,
    all_of,
    greater,
)
from twosided.papers.heston_planning.common import constant, doubled, fitted, learner
from twosided.papers.learning import exact
from twosided.plots import figure_lines
from twosided.rewards import InventoryPenalty

SHARES = (0.6, 0.2, 0.2)
"""Of the bars: to learn on, to choose by, to test on."""
WINDOW, BLOCK = 2000, 20
"""Bars of a fit, and of a block."""
AVERSION = 0.1
"""What a unit held costs a bar, over what the price moves by in one; and what makes of quotes of closed form."""
WIDEST = 5.0
"""The largest offset, in deviations of a bar's move."""
OFFSETS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Of makers that quote at a fixed distance, in the same."""
MOST = 2
"""Units held at most, long or short."""
LOOKS = 10
"""At a learner, of which the best on the second part is tested."""
RESAMPLES = 2000
METRICS = {"pnl": 1, "edge": 1, "sharpe": 2, "drawdown": 1, "position": 2, "turnover": 0}
"""And the digits that they are shown with."""
FEWEST = 1000
"""Bars of a record."""


@dataclasses.dataclass(frozen=True)
class History:
    """Bars in three parts, one after the other, and their units."""

    parts: tuple[Bars, Bars, Bars]
    deviation: float
    """Of a bar's move in the first part, a fraction of the price."""
    price: float
    """Mean close of the first part."""
    bars_per_day: float
    """Of trading."""

    @classmethod
    def read(cls, budget: Budget) -> "History":
        bars = read_bars(*budget.bars)
        if len(bars) < FEWEST:
            raise Refusal(
                f"{', '.join(budget.bars)}: the study takes at least {FEWEST} bars, but there are {len(bars)}"
            )
        ends = np.round(np.cumsum(SHARES) * len(bars)).astype(int)
        first, second, last = (bars[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
        if budget.quick:
            first = first[-1500:]
        deviation, price = float(first.returns.std()), float(first.price.close.mean())
        return cls((first, second, last), deviation, price, bars.bars_per_day)

    def scenario(self, part: int) -> Scenario:
        """One pass through a part."""
        bars = self.parts[part]
        market = BarsMarket(
            source=RecordedBars.of(bars),
            sizes=False,
            max_offset=WIDEST * self.deviation,
            min_inventory=-MOST,
            max_inventory=MOST,
        )
        penalty = InventoryPenalty(running=AVERSION * self.deviation * self.price, time_step=1.0)
        return Scenario(market, (), penalty, len(bars) - 2)

    def tested(self, case: str, makers: tuple[Policy, ...], seed: int) -> tuple[list[Record], pl.DataFrame]:
        """What makers do in the last part, the mean of what each does: metrics, and the curve of PnL.

        pnl: over the part, basis points; edge: of it, what trades had earned at the close of the bar that they were
        made in, the rest being what was held from before, which nobody can expect to gain by if the price is a
        martingale; sharpe, a day; drawdown: the largest, basis points; position: mean size; turnover: units a day.
        Errors are of resamples of bars in blocks (Politis & White 2004) and, of several makers, of which they are too.
        """
        scenario = self.scenario(2)
        moves = np.diff(self.parts[2].price.close)[: scenario.horizon]
        booked = np.stack([self._booked(trace(scenario, maker, seed, 1), moves) for maker in makers])
        # Of each maker alone: their mean would be no maker, and of less risk than any.
        each = self._metrics(booked)
        # What is earned is all but white; what is held and traded is not, and asks for longer blocks.
        errors = np.concatenate(
            [self._errors(booked, slice(0, 2), seed)[:4], self._errors(booked, slice(2, 4), seed)[4:]]
        )
        if len(makers) > 1:
            errors = np.hypot(errors, each.std(1, ddof=1) / len(makers) ** 0.5)
        records = [
            Record(case, 0, name, float(x), float(error))
            for name, x, error in zip(METRICS, each.mean(1), errors, strict=True)
        ]
        wealth = booked[:, 0].mean(0).cumsum()
        every = max(len(wealth) // 500, 1)
        times = np.arange(len(wealth)) / self.bars_per_day
        return records, pl.DataFrame({"day": times[::every], "pnl": wealth[::every]})

    def _booked(self, steps: pl.DataFrame, moves: np.ndarray) -> np.ndarray:
        """Of each step: PnL, and its edge, in basis points; units held, and traded."""
        held, unit = steps["inventory"].to_numpy(), self.price / 1e4
        pnl = steps["pnl_total"].to_numpy().astype(float) / unit
        traded = (steps["bought"] + steps["sold"]).to_numpy()
        return np.stack([pnl, pnl - held * moves / unit, abs(held), traded])

    def _errors(self, booked: np.ndarray, rows: slice, seed: int) -> np.ndarray:
        """Of the metrics' means over makers, by resamples in blocks as long as some of the rows ask for."""
        length = max(2, *map(block_length, booked[:, rows].mean(0)))
        resamples = block_resamples(booked.shape[-1], length, RESAMPLES, seed)
        return np.std([self._metrics(booked[..., bars]).mean(1) for bars in resamples], axis=0)

    def _metrics(self, booked: np.ndarray) -> np.ndarray:
        """METRICS of what was booked: (makers, 4, steps) to (metrics, makers)."""
        (pnl, edge, held, traded), day = np.moveaxis(booked, 1, 0), self.bars_per_day
        deviation, wealth = pnl.std(1), pnl.cumsum(1)
        return np.stack(
            [
                pnl.sum(1),
                edge.sum(1),
                pnl.mean(1) / np.where(deviation > 0, deviation, 1.0) * day**0.5,
                (np.maximum.accumulate(np.maximum(wealth, 0.0), axis=1) - wealth).max(1),
                held.mean(1),
                traded.mean(1) * day,
            ]
        )


NOTHING, HOLD, SELECTED = "doing nothing", "buy and hold", "the fixed offset chosen"


def references(budget: Budget, tell: Tell) -> Outcome:
    """Makers that learn nothing; fixed offsets are chosen by the second part, and all of them shown."""
    record = History.read(budget)
    records = exact(
        "record",
        deviation=1e4 * record.deviation,
        **{name: len(part) for name, part in zip(("learned", "chosen", "tested"), record.parts, strict=True)},
    )
    fixed = {offset: FixedOffset(offset * record.deviation, offset * record.deviation) for offset in OFFSETS}
    tell("choosing an offset")
    second = record.scenario(1)
    earned = {
        offset: find(evaluate(second, {"": maker}, steps=second.horizon), "", "reward").value
        for offset, maker in fixed.items()
    }
    chosen = max(earned, key=earned.__getitem__)
    law = fit_fills(record.parts[0])
    # Aversion over a fraction of the price, so that γσ²/2 is what the penalty takes of a unit.
    risk_aversion = 2 * AVERSION / record.deviation
    makers: dict[str, Policy] = {
        NOTHING: DoNothing(),
        HOLD: BuyAndHold(1.0),
        SELECTED: fixed[chosen],
        **{_fixed(offset): maker for offset, maker in fixed.items()},
        "Avellaneda and Stoikov": law.avellaneda_stoikov(risk_aversion, 1.0),
        "Guéant, Lehalle and Fernandez-Tapia": law.gueant_lehalle_fernandez_tapia(risk_aversion),
    }
    frames = []
    for name, maker in makers.items():
        tell(name)
        found, curve = record.tested(name, (maker,), budget.seed)
        records += found
        frames.append(curve.with_columns(who=pl.lit(name)))
    return Outcome(records, {"curves": pl.concat(frames)})


def _fixed(offset: float) -> str:
    return f"{offset:g} deviation{'' if offset == 1 else 's'}"


def learned(model: Callable[[HestonBars], HestonBars] | None) -> Callable[[Budget, Tell], Outcome]:
    """A learner on the first part, at the look at which it did best on the second, on the last."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        record = History.read(budget)
        first = record.parts[0]
        expected = None
        if model:
            tell("fitting the model")
            window = min(WINDOW, len(first) // 2)
            expected = model(fitted(first, window, BLOCK, budget.seed))
        config = learner(len(first) - 2, 1, expected)
        scenario, second = record.scenario(0), record.scenario(1)
        best: list[tuple[float, Policy]] = []
        rows = []

        def look(progress: Progress) -> None:
            for i, policy in enumerate(policies_of(scenario, config, progress.states, budget.seeds)):
                reward = find(evaluate(second, {"": policy}, steps=second.horizon), "", "reward").value
                lived = 1 + config.warmup + progress.iteration
                rows.append({"seed": i, "bars": lived, "reward": reward * 1e4 / record.price})
                if len(best) <= i:
                    best.append((reward, policy))
                elif reward > best[i][0]:
                    best[i] = reward, policy
            tell(f"{100 * progress.iteration / progress.iterations:.0f}% trained")

        tell("compiling")
        train(scenario, config, budget.seed, budget.seeds, LOOKS, None, look)
        records, curve = record.tested("learner", tuple(policy for _, policy in best), budget.seed)
        return Outcome(records, {"looks": pl.DataFrame(rows), "curve": curve})

    return run


WAYS: Mapping[str, tuple[str, Callable[[HestonBars], HestonBars] | None]] = {
    "bars-sac": ("SAC", None),
    "bars-planning": ("planning, rolling fits", lambda model: model),
    "bars-constant": ("planning, constant volatility", constant),
    "bars-doubled": ("planning, variance doubled", doubled),
}


def table(found: Outcomes) -> list[Table | Figure]:
    def row(label: str, case: str, name: str) -> Row:
        return Row(label, tuple(Cell(found.estimate(case, name, m), digits=d) for m, d in METRICS.items()))

    names = [NOTHING, HOLD, SELECTED, "Avellaneda and Stoikov", "Guéant, Lehalle and Fernandez-Tapia"]
    rows = [row(label, case, "learner") for case, (label, _) in WAYS.items()]
    rows += [row(name, "bars-references", name) for name in names]
    fixed = [row(_fixed(offset), "bars-references", _fixed(offset)) for offset in OFFSETS]
    counts = {
        name: found.record("bars-references", "record", name).value
        for name in ("learned", "chosen", "tested")
    }
    of = (
        f"Of {counts['tested']:,.0f} bars, after {counts['learned']:,.0f} to learn on and {counts['chosen']:,.0f} to "
        "choose by. PnL, edge and drawdown in basis points of the price, of one unit a side; edge is what trades had "
        "earned at the close of the bar that they were made in, the rest what was held from before. Sharpe ratio of a "
        f"day; mean size of the position in units; units traded a day. Learners: mean of {found.budget.seeds} seeds. "
        "Errors by block bootstrap of the bars, those of learners with the error from seed to seed beside."
    )
    columns = ("PnL", "of it, edge", "Sharpe", "drawdown", "position", "turnover")
    curves = pl.concat(
        [
            *(
                found.frame(case, "curve").with_columns(who=pl.lit(label))
                for case, (label, _) in WAYS.items()
            ),
            found.frame("bars-references", "curves").filter(pl.col("who").is_in([SELECTED, HOLD])),
        ]
    )
    looks = pl.concat(
        [found.frame(case, "looks").with_columns(who=pl.lit(label)) for case, (label, _) in WAYS.items()]
    )
    means = looks.group_by("who", "bars", maintain_order=True).agg(
        pl.col("reward").mean(), reward_error=pl.col("reward").std() / pl.len().sqrt()
    )
    return [
        Table(columns, tuple(rows), of),
        Table(
            columns,
            tuple(fixed),
            "Offsets in deviations of a bar’s move; chosen with hindsight, none is a policy.",
            "Every fixed offset",
        ),
        Figure(
            "PnL of the bars that nobody had seen",
            "Basis points of the price.",
            figure_lines(curves, "day", {"pnl": "PnL, basis points"}, "who", x_title="days"),
        ),
        Figure(
            "What a real bar teaches",
            "Reward on the bars that learners are chosen by; mean of seeds with its 95% band.",
            figure_lines(
                means, "bars", {"reward": "reward a bar, basis points"}, "who", x_title="real bars lived"
            ),
        ),
    ]


def beats(case: str) -> Callable[[Outcomes], Finding]:
    def test(found: Outcomes) -> Finding:
        pnl = found.estimate(case, "learner", "pnl")
        return greater(
            pnl, Estimate(0.0), names=(f"{WAYS[case][0]}, basis points,", "doing nothing"), digits=1
        )

    return test


def hindsight(found: Outcomes) -> Finding:
    """Whether the edge of each offset is below 0."""
    edge = {offset: found.estimate("bars-references", _fixed(offset), "edge") for offset in OFFSETS}
    return all_of(
        greater(Estimate(0.0), x, names=("nothing", f"edge at {_fixed(offset)}, basis points,"), digits=1)
        for offset, x in edge.items()
    )


CASES = (
    Case("bars-references", references, needs_bars=True),
    *(Case(case, learned(model), needs_bars=True) for case, (_, model) in WAYS.items()),
)

ITEMS = (
    Item(
        "bars",
        "Planning on real bars",
        "Trained, chosen and tested on parts that follow each other in time; what the price goes through fills.",
        ("bars-references", *WAYS),
        table,
        (
            Claim(
                "this project",
                "SAC earns more than doing nothing, on bars that nobody had seen.",
                beats("bars-sac"),
            ),
            Claim("this project", "With planning it does.", beats("bars-planning")),
            Claim(
                "this project", "A fill has lost by the close of its bar, at every fixed offset.", hindsight
            ),
        ),
    ),
)
