"""On simulated bars of Heston's model, where the truth is known: how many real bars planning saves.

Every seed has a history of its own, which each learner lives through once, from its first bar, and looks around in for
the first 1.3% of its bars; whoever plans takes as many gradient steps in all as who does not. All are judged on bars
that nobody has learned on.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.bars.exact import bars_optimum
from twosided.bars.heston_bars import HestonBars, HestonDraws
from twosided.bars.market import BarsMarket
from twosided.bars.source import BarSource, RecordedBars, SimulatedBars
from twosided.core.evaluation import evaluate
from twosided.core.records import find
from twosided.core.scenario import Scenario
from twosided.data.bars import Bars
from twosided.heston.process import Heston
from twosided.learn.sac import SAC
from twosided.learn.train import Progress, policies_of, train
from twosided.limit_orders.policies import DoNothing, FixedOffset
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
    greater,
    mean,
)
from twosided.papers.heston_planning.common import SUBSTEPS, WARMUP, constant, doubled, fitted, learner
from twosided.papers.learning import drawings, judge_in_turn, over_drawings
from twosided.plots import figure_lines
from twosided.prices import GeometricBrownian
from twosided.prices.bars import simulate_bars
from twosided.rewards import InventoryPenalty

YEARS = 1 / 525_600
"""Of a minute."""
PROCESS = Heston(
    initial_variance=0.02,
    reversion=2000.0,
    level=0.02,
    vol_of_vol=6.0,
    correlation=-0.5,
    time_step=YEARS / SUBSTEPS,
)
"""Minutes with a volatility of 14% a year, 2 basis points a minute, that forgets in four hours."""
REWARD = InventoryPenalty(running=0.002, time_step=1.0)
"""A unit held costs a tenth of what a minute moves it by."""
HORIZON = 500
"""Bars of an episode that is judged."""
WINDOW, BLOCK = 250, 5
"""Bars of a fit, and of a block."""
POLICY = "policy"
"""What is judged, in the records of a case."""


def quoting(source: BarSource) -> BarsMarket:
    """Two offsets for one unit a side; a rebate of a basis point; filled by what the price goes through."""
    return BarsMarket(
        source=source,
        sizes=False,
        maker_rate=-1e-4,
        max_offset=6e-4,
        min_inventory=-5.0,
        max_inventory=5.0,
    )


HELD_OUT = Scenario(quoting(SimulatedBars(PROCESS, SUBSTEPS)), (), REWARD, HORIZON)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to learn."""

    name: str
    label: str
    bars: int
    """Of the history that it lives through."""
    model: Callable[[Bars, np.ndarray, int], HestonBars] | None
    """What it plans with, of the bars, their true variances and a seed; None: it does not plan."""

    @property
    def case(self) -> str:
        return f"{self.name}-{self.bars}"


def known(bars: Bars, variance: np.ndarray, seed: int) -> HestonBars:
    """The true model, today's variance included."""
    one, nothing = jnp.ones((1, 1)), jnp.zeros(len(bars))
    names = ("reversion", "level", "vol_of_vol", "correlation")
    draws = HestonDraws(*(one * getattr(PROCESS, name) for name in names), drift=0 * one)
    volatility = jnp.asarray(np.sqrt(variance), jnp.float32)
    record = RecordedBars.of(bars)
    return HestonBars(record, draws, nothing.astype(int), volatility, nothing, YEARS, SUBSTEPS)


def calibrated(bars: Bars, variance: np.ndarray, seed: int) -> HestonBars:
    """What a rolling fit knew."""
    return fitted(bars, WINDOW, BLOCK, seed, YEARS)


MOST, FIFTH = 5000, 1000
"""Bars that are lived without planning, and a fifth of them."""
UPDATES = 4
"""Gradient steps a bar of who lives the most bars."""
PLAIN = Way("sac", "SAC", MOST, None)
SHORT = Way("sac", "SAC", FIFTH, None)
KNOWN = Way("known", "planning, the true model", FIFTH, known)
FITTED = Way("fitted", "planning, rolling fits", FIFTH, calibrated)
CONSTANT = Way("constant", "planning, constant volatility", FIFTH, lambda *of: constant(calibrated(*of)))
DOUBLED = Way("doubled", "planning, variance doubled", FIFTH, lambda *of: doubled(calibrated(*of)))
WAYS = (PLAIN, SHORT, KNOWN, FITTED, CONSTANT, DOUBLED)


def taught(way: Way, budget: Budget, model: HestonBars | None) -> SAC:
    """The learner of a way.

    All take as many gradient steps: who lives a fifth of the bars looks around in a fifth as many, the last bar, which
    nothing follows, counted in.
    """
    updates = UPDATES * MOST // way.bars // (4 if budget.quick else 1)
    warmup = (WARMUP + 1) * way.bars // MOST - 1
    return learner(_lived(budget, way.bars), updates, model, warmup)


def learned(way: Way) -> Callable[[Budget, Tell], Outcome]:
    def run(budget: Budget, tell: Tell) -> Outcome:
        bars = _lived(budget, way.bars)
        policies, rows = [], []
        for i in range(budget.seeds):
            seed = budget.seed + i
            history, states = simulate_bars(PROCESS, bars + 2, substeps=SUBSTEPS, seed=seed)
            tell(f"history {i + 1} of {budget.seeds}")
            model = way.model and way.model(history, np.asarray(states.variance, float), seed)
            scenario = Scenario(quoting(RecordedBars.of(history)), (), REWARD, bars)
            config = taught(way, budget, model)

            def look(progress: Progress, i: int = i, scenario=scenario, config=config) -> None:
                (policy,) = policies_of(scenario, config, progress.states, 1)
                found = evaluate(HELD_OUT, {POLICY: policy}, budget.seed, 50_000)
                lived = 1 + config.warmup + progress.iteration
                row = {"seed": i, "bars": lived, "reward": find(found, POLICY, "reward").value}
                rows.append(row)
                tell(f"history {i + 1} of {budget.seeds}: {lived} bars, a reward of {row['reward']:.4f}")

            policies += train(scenario, config, seed, 1, 5, None, look)[0]
        records = judge_in_turn(HELD_OUT, {POLICY: tuple(policies)}, {}, budget, tell, _judged(budget))
        return Outcome(records, {"curve": pl.DataFrame(rows)})

    return run


def _judged(budget: Budget) -> int:
    return 50_000 if budget.quick else 400_000


TABLE, NOTHING, FIXED = "best by inventory", "nothing", "at the close"


def references(budget: Budget, tell: Tell) -> Outcome:
    """Doing nothing, quoting at the close, and the best quotes were the volatility constant, on the same chance."""
    steady = GeometricBrownian(volatility=PROCESS.level**0.5, time_step=PROCESS.time_step)
    best = bars_optimum(dataclasses.replace(HELD_OUT, market=quoting(SimulatedBars(steady, SUBSTEPS))))
    makers = {TABLE: best.policy, NOTHING: DoNothing(), FIXED: FixedOffset(0.0, 0.0)}
    return Outcome(judge_in_turn(HELD_OUT, {}, makers, budget, tell, _judged(budget)))


# --- What is shown ---


def table(found: Outcomes) -> list[Table | Figure]:
    def row(label: str, case: str, name: str, bars: int | None) -> Row:
        reward, pnl = (
            over_drawings(found, case, name, metric).times(100) for metric in ("reward", "pnl_total")
        )
        position = over_drawings(found, case, name, "inventory_std")
        number = None if bars is None else Estimate(bars)
        return Row(
            label, (Cell(number, digits=0), Cell(reward, digits=3), Cell(pnl, digits=3), Cell(position))
        )

    rows = [row(way.label, way.case, POLICY, _lived(found.budget, way.bars)) for way in WAYS]
    names = {TABLE: "the best quotes by inventory", FIXED: "quotes at the close", NOTHING: "doing nothing"}
    rows += [row(label, "references", name, None) for name, label in names.items()]
    note = (
        "Reward and PnL a bar, in hundredths of the currency at a price of 100; deviation of the position in "
        "units. All learners take as many gradient steps; a seed is a history, and learners of a seed are judged on "
        "the same chance. The best quotes by inventory are exact for bars of constant volatility."
    )
    curve = pl.concat(
        [
            found.frame(way.case, "curve").with_columns(who=pl.lit(_named(way, found.budget)))
            for way in (PLAIN, SHORT, KNOWN, FITTED)
        ]
    )
    means = curve.group_by("who", "bars", maintain_order=True).agg(
        pl.col("reward").mean() * 100,
        reward_error=pl.col("reward").std() / pl.len().sqrt() * 100,
    )
    best = over_drawings(found, "references", TABLE, "reward").times(100).value
    figure = figure_lines(
        means,
        "bars",
        {"reward": "reward a bar × 100, on bars not seen"},
        "who",
        x_title="real bars lived",
        levels={"best by inventory": best},
    )
    return [
        Table(("real bars", "reward × 100", "PnL × 100", "position"), tuple(rows), note),
        Figure(
            "What a real bar teaches",
            "Each line is a training of its own length; mean of seeds, 95% band.",
            figure,
        ),
    ]


def _lived(budget: Budget, bars: int) -> int:
    """Bars of a history; half of them when quick, and an eighth of the gradient steps."""
    return bars // 2 if budget.quick else bars


def _named(way: Way, budget: Budget) -> str:
    return f"{way.label}, {_lived(budget, way.bars):,} bars"


def _better(a: Way, b: Way) -> Callable[[Outcomes], Finding]:
    """Whether a's reward is above b's, history by history."""

    def test(found: Outcomes) -> Finding:
        pairs = zip(*(drawings(found, way.case, POLICY, "reward") for way in (a, b)), strict=True)
        apart = mean([100 * (x - y) for x, y in pairs])
        one, other = (over_drawings(found, way.case, POLICY, "reward").times(100) for way in (a, b))
        names = f"{_named(a, found.budget)},", f"{_named(b, found.budget)},"
        return greater(one, other, difference=apart, names=names, digits=3)

    return test


def earns(found: Outcomes) -> Finding:
    """Whether who plans with fits does better than doing nothing, which has no reward."""
    reward = over_drawings(found, FITTED.case, POLICY, "reward").times(100)
    return greater(
        reward, Estimate(0.0), names=("planning with rolling fits, reward × 100,", "doing nothing"), digits=3
    )


CASES = (Case("references", references), *(Case(way.case, learned(way)) for way in reversed(WAYS)))

ITEMS = (
    Item(
        "simulated",
        "Planning on bars whose truth is known",
        "Makers of two offsets on one-minute bars of Heston’s model, every seed a history of its own.",
        ("references", *(way.case for way in WAYS)),
        table,
        (
            Claim(
                "this project",
                "With planning a fifth of the real bars, and as many gradient steps, earn more than SAC alone.",
                _better(FITTED, PLAIN),
            ),
            Claim(
                "this project", "With planning the maker earns more than it would by doing nothing.", earns
            ),
            Claim(
                "this project",
                "On as many real bars, and as many gradient steps, planning earns more than SAC alone.",
                _better(FITTED, SHORT),
            ),
            Claim(
                "this project",
                "A model of constant volatility, which is wrong, still saves four fifths of the real bars.",
                _better(CONSTANT, PLAIN),
            ),
            Claim(
                "this project",
                "So does one of twice the variance.",
                _better(DOUBLED, PLAIN),
            ),
        ),
    ),
)
