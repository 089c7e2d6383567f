"""Planning on simulated bars of the Heston model: the saving of real bars when the true model is known.

Every seed has its own history, through which each learner passes once, with random actions during the first 1.3% of its
bars. Learners with and without planning take the same number of gradient steps. All are evaluated on bars that are not
used in training.
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
    Report,
    Row,
    Table,
    dash_case,
    greater,
    mean,
    select_one,
)
from twosided.papers.heston_planning.common import (
    MODEL_LABELS,
    SUBSTEPS,
    WARMUP,
    constant,
    doubled,
    fitted,
    learner,
)
from twosided.papers.learning import Parameters, evaluate_replications, over_replications, replications
from twosided.plots import figure_lines
from twosided.prices import GeometricBrownian
from twosided.prices.bars import simulate_bars
from twosided.rewards import InventoryPenalty

YEARS = 1 / 525_600
"""Length of a minute in years."""
PROCESS = Heston(
    initial_variance=0.02,
    mean_reversion=2000.0,
    long_run_variance=0.02,
    vol_of_vol=6.0,
    correlation=-0.5,
    time_step=YEARS / SUBSTEPS,
)
"""Price process with a volatility of 14% a year, or 2 basis points a minute, that reverts within four hours."""
REWARD = InventoryPenalty(running=0.002)
"""Holding a unit costs a tenth of the standard deviation of its value over a minute."""
HORIZON = 500
"""Bars of an episode of the evaluation."""
WINDOW, BLOCK = 250, 5
"""Bars of a fit, and of a block."""
LEARNER: Parameters = {"policy": "learner"}


def quoting(source: BarSource) -> BarsMarket:
    """Two offsets for one unit a side; a rebate of a basis point; an order fills if the price goes through it."""
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
class Variant:
    """A learner of the comparison."""

    model: str
    """Name of the model that it plans with; none if it does not plan."""
    bars: int
    """Bars of its history."""
    make_model: Callable[[Bars, np.ndarray, int], HestonBars] | None
    """The model from the bars, their true variances and a seed; None if it does not plan."""


def true_model(bars: Bars, variance: np.ndarray, seed: int) -> HestonBars:
    """The true model, current variances included."""
    one, nothing = jnp.ones((1, 1)), jnp.zeros(len(bars))
    names = ("mean_reversion", "long_run_variance", "vol_of_vol", "correlation")
    draws = HestonDraws(*(one * getattr(PROCESS, name) for name in names), drift=0 * one)
    volatility = jnp.asarray(np.sqrt(variance), jnp.float32)
    record = RecordedBars.of(bars)
    return HestonBars(record, draws, nothing.astype(int), volatility, nothing, YEARS, SUBSTEPS)


def calibrated(bars: Bars, variance: np.ndarray, seed: int) -> HestonBars:
    """The model of rolling fits."""
    return fitted(bars, WINDOW, BLOCK, seed, YEARS)


FULL, FIFTH = 5000, 1000
"""Bars of a full history, and a fifth of them."""
UPDATES = 4
"""Gradient steps per bar of a full history."""
PLAIN = Variant("none", FULL, None)
SHORT = Variant("none", FIFTH, None)
TRUE = Variant("true", FIFTH, true_model)
FITTED = Variant("fitted", FIFTH, calibrated)
CONSTANT = Variant("constant", FIFTH, lambda *given: constant(calibrated(*given)))
DOUBLED = Variant("doubled", FIFTH, lambda *given: doubled(calibrated(*given)))
VARIANTS = (PLAIN, SHORT, TRUE, FITTED, CONSTANT, DOUBLED)


def learner_of(variant: Variant, budget: Budget, model: HestonBars | None) -> SAC:
    """The learner of a variant.

    All take the same number of gradient steps: with a fifth of the bars the warm-up is a fifth as long, counting the
    last bar, which no other follows.
    """
    updates = UPDATES * FULL // variant.bars // (4 if budget.quick else 1)
    warmup = (WARMUP + 1) * variant.bars // FULL - 1
    return learner(_bars(budget, variant.bars), updates, model, warmup)


def learned(variant: Variant) -> Callable[[Budget, Report], Outcome]:
    def run(budget: Budget, report: Report) -> Outcome:
        bars = _bars(budget, variant.bars)
        policies, rows = [], []
        for i in range(budget.seeds):
            seed = budget.seed + i
            history, states = simulate_bars(PROCESS, bars + 2, substeps=SUBSTEPS, seed=seed)
            report(f"history {i + 1} of {budget.seeds}")
            model = variant.make_model and variant.make_model(
                history, np.asarray(states.variance, float), seed
            )
            scenario = Scenario(quoting(RecordedBars.of(history)), (), REWARD, bars)
            config = learner_of(variant, budget, model)

            def look(progress: Progress, i: int = i, scenario=scenario, config=config) -> None:
                (policy,) = policies_of(scenario, config, progress.states, 1)
                found = evaluate(HELD_OUT, {"": policy}, budget.seed, 50_000)
                bars_seen = 1 + config.learning_starts + progress.iteration
                row = {"seed": i, "bars": bars_seen, "reward": find(found, "", "reward").value}
                rows.append(row)
                report(
                    f"history {i + 1} of {budget.seeds}: {bars_seen} bars, a reward of {row['reward']:.4f}"
                )

            policies += train(scenario, config, seed, 1, 5, None, look)[0]
        steps = evaluation_steps(budget)
        records = evaluate_replications(HELD_OUT, [(LEARNER, policies)], [], budget, report, steps)
        return Outcome(records, {"curve": pl.DataFrame(rows)})

    return run


def evaluation_steps(budget: Budget) -> int:
    return 50_000 if budget.quick else 400_000


REFERENCE_LABELS = {
    "optimum": "optimal quotes by inventory",
    "at the close": "quotes at the close",
    "nothing": "doing nothing",
}


def references(budget: Budget, report: Report) -> Outcome:
    """Doing nothing, quoting at the close, and the optimum for a constant volatility, on common random numbers."""
    steady = GeometricBrownian(volatility=PROCESS.long_run_variance**0.5, time_step=PROCESS.time_step)
    best = bars_optimum(dataclasses.replace(HELD_OUT, market=quoting(SimulatedBars(steady, SUBSTEPS))))
    policies = {"optimum": best.policy, "nothing": DoNothing(), "at the close": FixedOffset(0.0, 0.0)}
    makers = [({"policy": name}, policy) for name, policy in policies.items()]
    return Outcome(evaluate_replications(HELD_OUT, [], makers, budget, report, evaluation_steps(budget)))


def case_of(variant: Variant) -> str:
    return select_one(CASES, model=variant.model, bars=variant.bars)


def table(found: Outcomes) -> list[Table | Figure]:
    def row(label: str, case: str, policy: str, bars: int | None) -> Row:
        reward, pnl = (
            over_replications(found, case, metric, policy=policy).times(100)
            for metric in ("reward", "pnl_total")
        )
        position = over_replications(found, case, "inventory_std", policy=policy)
        number = None if bars is None else Estimate(bars)
        return Row(
            label, (Cell(number, digits=0), Cell(reward, digits=3), Cell(pnl, digits=3), Cell(position))
        )

    rows = [
        row(MODEL_LABELS[variant.model], case_of(variant), "learner", _bars(found.budget, variant.bars))
        for variant in VARIANTS
    ]
    rows += [row(label, "references", policy, None) for policy, label in REFERENCE_LABELS.items()]
    note = (
        "Reward and PnL per bar, in hundredths of the currency at a price of 100; standard deviation of the position "
        "in units. All learners take the same number of gradient steps; a seed is a history, and learners of a seed "
        "are evaluated on common random numbers. The optimal quotes by inventory are exact for constant volatility."
    )
    curve = pl.concat(
        [
            found.frame(case_of(variant), "curve").with_columns(series=pl.lit(_label(variant, found.budget)))
            for variant in (PLAIN, SHORT, TRUE, FITTED)
        ]
    )
    means = curve.group_by("series", "bars", maintain_order=True).agg(
        pl.col("reward").mean() * 100,
        reward_error=pl.col("reward").std() / pl.len().sqrt() * 100,
    )
    best = over_replications(found, "references", "reward", policy="optimum").times(100).value
    figure = figure_lines(
        means,
        "bars",
        {"reward": "reward per bar × 100, evaluation"},
        "series",
        x_title="real bars of training",
        levels={"optimal by inventory": best},
    )
    return [
        Table(("real bars", "reward × 100", "PnL × 100", "position"), tuple(rows), note),
        Figure(
            "Learning by real bars",
            "Each line is a training run of its own length; mean of seeds, 95% band.",
            figure,
        ),
    ]


def _bars(budget: Budget, bars: int) -> int:
    """Bars of a history; half of them when quick, and an eighth of the gradient steps."""
    return bars // 2 if budget.quick else bars


def _label(variant: Variant, budget: Budget) -> str:
    return f"{MODEL_LABELS[variant.model]}, {_bars(budget, variant.bars):,} bars"


def _better(a: Variant, b: Variant) -> Callable[[Outcomes], Finding]:
    """Whether a's reward is above b's, in a paired comparison of histories."""

    def test(found: Outcomes) -> Finding:
        rewards = (replications(found, case_of(variant), "reward", **LEARNER) for variant in (a, b))
        difference = mean([100 * (x - y) for x, y in zip(*rewards, strict=True)])
        one, other = (_reward(found, variant) for variant in (a, b))
        names = f"{_label(a, found.budget)},", f"{_label(b, found.budget)},"
        return greater(one, other, difference=difference, names=names, digits=3)

    return test


def _reward(found: Outcomes, variant: Variant) -> Estimate:
    """Reward of a step, times 100."""
    return over_replications(found, case_of(variant), "reward", **LEARNER).times(100)


def earns(found: Outcomes) -> Finding:
    """Whether planning with fits earns more than doing nothing, whose reward is 0."""
    return greater(
        _reward(found, FITTED),
        Estimate(0.0),
        names=("planning with rolling fits, reward × 100,", "doing nothing"),
        digits=3,
    )


def _case(variant: Variant) -> Case:
    parameters = {"model": variant.model, "bars": variant.bars}
    name = "sac" if variant.make_model is None else variant.model
    return Case(dash_case(name, variant.bars), learned(variant), parameters)


CASES = (Case("references", references), *map(_case, reversed(VARIANTS)))

ITEMS = (
    Item(
        "simulated",
        "Planning on bars with a known model",
        "Makers of two offsets on one-minute bars of Heston’s model, every seed a history of its own.",
        ("references", *map(case_of, VARIANTS)),
        table,
        (
            Claim(
                "this project",
                "Planning on a fifth of the real bars, with equally many gradient steps, earns more than SAC alone.",
                _better(FITTED, PLAIN),
            ),
            Claim("this project", "Planning earns more than doing nothing.", earns),
            Claim(
                "this project",
                "On equally many real bars, with equally many gradient steps, planning earns more than SAC alone.",
                _better(FITTED, SHORT),
            ),
            Claim(
                "this project",
                "A misspecified model with a constant volatility still saves four fifths of the real bars.",
                _better(CONSTANT, PLAIN),
            ),
            Claim(
                "this project",
                "So does one with twice the variance.",
                _better(DOUBLED, PLAIN),
            ),
        ),
    ),
)
