"""What the parts of the study share: the market, the learner, and what is said of a maker's steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.scenario import Scenario
from twosided.hedging.market import HedgingAction, HedgingMarket, HedgingObservation
from twosided.hedging.plots import figure_hedging
from twosided.hedging.rewards import PositionPenalty
from twosided.learn.sac import SAC
from twosided.papers.bakshaev2020.scenarios import single_asset
from twosided.papers.base import Budget, Cell, Figure, Outcomes
from twosided.plots import figure_lines

STEPS = 512
"""Of an episode."""
PAPERS_WEIGHT = 3.0
"""γ of the penalty."""
PNL_COUNTS = 1e-3
"""A weight of the penalty at which PnL counts beside it."""
PAPERS = SAC(
    hidden=(1024, 1024),
    steps=6000,
    paths=1,
    updates=1,
    warmup=100,
    actor_rate=7e-6,
    critic_rate=7e-6,
    temperature_rate=7e-6,
    initial_temperature=1.0,
    rate_end=1.0,
    normalise_observations=False,
    normalise_rewards=False,
)
"""The paper's network, step size and length for one asset; what it leaves open is as in its library."""
POSITIONS = np.arange(-64.0, 65.0)
"""Units, of curves over positions."""
CLOSE = 5.0
"""Percent of the optimum's value."""
LARGEST = 32.0
"""Largest hedge, units."""
FULL = 0.9
"""A hedge of this part of the largest, and more, is one of full size."""


def hedging(weight: float = PNL_COUNTS, market: HedgingMarket = HedgingMarket()) -> Scenario:
    """The hedging market with the paper's penalty at some weight."""
    return Scenario(market, (), PositionPenalty(weight=weight), STEPS)


def learner(budget: Budget, actions: int = 1, steps: int = 400_000) -> SAC:
    """Our settings for so many actions; a tenth of the steps when quick.

    A hedge is done a step later and what it leaves is traded away in a few, so that looking ten steps ahead is enough,
    and values have less noise than at 0.99. The entropy aimed at is lower than is usual: the best hedge has a corner
    where it begins, which exploring rounds off.
    """
    return SAC(
        steps=max(steps // (10 if budget.quick else 1), 20_000),
        paths=64,
        updates=4,
        buffer=200_000,
        discount=0.9,
        target_entropy=-2.0 * actions,
        actor_rate=1e-3,
        critic_rate=1e-3,
        temperature_rate=1e-3,
    )


def taught(scenario: Scenario, config: SAC) -> Scenario:
    """The scenario with the charge at a breach that goes with the learner's discount."""
    reward = dataclasses.replace(scenario.reward, discount=config.discount)
    return dataclasses.replace(scenario, reward=reward)


def judged_steps(budget: Budget) -> int:
    return 100_000 if budget.quick else 500_000


def of_paths(case: str, steps: pl.DataFrame) -> list[Record]:
    """What the paper's dashboards show, from a trace: means over paths and their standard errors.

    pnl: of a path, currency; pnl_deviation, from path to path; sharpe: of a step, percent; position: mean size, units;
    swings: percent of the steps that hedge full size and the step before full size the other way.
    """
    total = pl.col("pnl_total")
    full = (pl.col("hedge") / LARGEST).abs() >= FULL
    before = pl.col("hedge").shift(1).over("path")
    swings = full & ((before / LARGEST).abs() >= FULL) & (before * pl.col("hedge") < 0)
    paths = (
        steps.with_columns(swings=swings.fill_null(False))
        .group_by("path")
        .agg(
            pnl=total.sum(),
            sharpe=100 * total.mean() / total.std(ddof=0),
            position=pl.col("inventory").abs().mean(),
            swings=100 * pl.col("swings").mean(),
        )
    )
    records = [
        Record(case, 0, name, float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))))
        for name in ("pnl", "sharpe", "position", "swings")
        for x in (paths[name].to_numpy(),)
    ]
    return [*records, Record(case, 0, "pnl_deviation", float(paths["pnl"].to_numpy().std(ddof=1)))]


def actions(policy: Policy, positions: np.ndarray, **seen: np.ndarray) -> dict[str, np.ndarray]:
    """The hedge, and the skew if there is one, of a policy at some positions and what else it sees there."""

    def one(position: jax.Array, more: dict[str, jax.Array]) -> HedgingAction:
        return policy.act(None, policy.init(), HedgingObservation(inventory=position, **more))[0]

    found = jax.vmap(one)(*jax.tree.map(lambda x: jnp.asarray(x, float), (positions, seen)))
    parts = {"hedge": found.hedge, "skew": found.skew}
    return {name: np.asarray(part, float) for name, part in parts.items() if part is not None}


def curves(x: np.ndarray, name: str, of: dict[str, np.ndarray]) -> pl.DataFrame:
    """Curves over positions, each a mean over rows with its standard error; `who` names them."""
    frames = []
    for who, rows in of.items():
        error = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(x.size)
        columns = {"position": x, name: rows.mean(0).astype(float), f"{name}_error": error.astype(float)}
        frames.append(pl.DataFrame(columns).with_columns(who=pl.lit(who)))
    return pl.concat(frames)


def figure_curves(frame: pl.DataFrame, name: str) -> go.Figure:
    """The hedge or the skew over positions, from `curves`."""
    panel = {name: "hedge, units" if name == "hedge" else "skew"}
    return figure_lines(frame, "position", panel, "who", x_title="position before it, units")


def followed() -> Scenario:
    """The paper's scenario, where no breach ends an episode: the unhedged position has one in most."""
    scenario = single_asset()
    return dataclasses.replace(scenario, market=dataclasses.replace(scenario.market, breach_multiple=1e9))


COLUMNS = ("PnL", "deviation", "Sharpe, %", "position", "swings, %")


def path_cells(found: Outcomes, case: str, name: str, theirs: dict[str, float]) -> tuple[Cell, ...]:
    metrics = {"pnl": 0, "pnl_deviation": 0, "sharpe": 1, "position": 1, "swings": 2}
    return tuple(Cell(found.estimate(case, name, m), theirs.get(m), digits=d) for m, d in metrics.items())


def dashboard(title: str, steps: pl.DataFrame) -> Figure:
    return Figure(
        title,
        "One episode: prices, spreads, trades, positions by kind and PnL by part.",
        figure_hedging(steps),
    )
