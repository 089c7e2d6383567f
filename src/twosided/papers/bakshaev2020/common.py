"""Market, learner and statistics shared by the parts of the study."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.policy import Policy
from twosided.core.records import Parameter, Record
from twosided.core.scenario import Scenario
from twosided.hedging.market import HedgingAction, HedgingMarket, HedgingObservation
from twosided.hedging.plots import figure_hedging
from twosided.hedging.rewards import PositionPenalty
from twosided.learn.sac import SAC
from twosided.papers.bakshaev2020.scenarios import single_asset
from twosided.papers.base import Budget, Cell, Figure, Outcomes, record_of
from twosided.papers.learning import Parameters, labelled
from twosided.plots import figure_lines

STEPS = 512
"""Steps of an episode."""
PAPER_WEIGHT = 3.0
"""γ of the penalty."""
SMALL_WEIGHT = 1e-3
"""γ at which PnL matters beside the penalty."""
PAPER = SAC(
    hidden_sizes=(1024, 1024),
    total_timesteps=6000,
    num_envs=1,
    gradient_steps=1,
    learning_starts=100,
    actor_lr=7e-6,
    critic_lr=7e-6,
    ent_coef_lr=7e-6,
    initial_ent_coef=1.0,
    lr_end=1.0,
    normalize_observations=False,
    normalize_rewards=False,
)
"""The paper's network, step size and length for one asset, and its library's defaults for what it does not state."""
POSITIONS = np.arange(-64.0, 65.0)
"""Positions of the curves of hedges and skews, units."""
MAX_GAP = 5.0
"""Largest distance from the optimum's value that counts as close, in percent."""
MAX_HEDGE = 32.0
"""Largest hedge, units."""
FULL_SIZE = 0.9
"""Smallest fraction of the largest hedge that counts as full size."""


def hedging(weight: float = SMALL_WEIGHT, market: HedgingMarket = HedgingMarket()) -> Scenario:
    """Return the hedging market with the paper's penalty, at a weight γ."""
    return Scenario(market, (), PositionPenalty(weight=weight), STEPS)


def learner(budget: Budget, actions: int = 1, steps: int = 400_000) -> SAC:
    """Return our settings of SAC for a number of actions, with a tenth of the steps when quick.

    A hedge is executed one step later and the rest of the position is traded away within a few steps, so a horizon of
    ten steps is enough, and values have less noise than with a discount of 0.99. The target entropy is lower than
    usual: the optimal hedge has a kink where it begins, which exploration smooths.
    """
    return SAC(
        total_timesteps=max(steps // (10 if budget.quick else 1), 20_000),
        num_envs=64,
        gradient_steps=4,
        buffer_size=200_000,
        gamma=0.9,
        target_entropy=-2.0 * actions,
        actor_lr=1e-3,
        critic_lr=1e-3,
        ent_coef_lr=1e-3,
    )


def training_scenario(scenario: Scenario, config: SAC) -> Scenario:
    """Return the scenario with the charge for a breach at the learner's discount factor."""
    reward = dataclasses.replace(scenario.reward, discount=config.gamma)
    return dataclasses.replace(scenario, reward=reward)


def evaluation_steps(budget: Budget) -> int:
    return 100_000 if budget.quick else 500_000


def of_paths(parameters: Parameters, steps: pl.DataFrame) -> list[Record]:
    """Return the statistics of the paper's dashboards from a trace: means over paths and their standard errors.

    path_pnl: PnL of a path, currency, and path_pnl_std, its standard deviation over paths; path_sharpe: Sharpe ratio
    of a step, percent; path_position: mean size, units; path_swings: percent of the steps that hedge full size after
    a step that hedged full size the other way.
    """
    total = pl.col("pnl_total")
    full = (pl.col("hedge") / MAX_HEDGE).abs() >= FULL_SIZE
    before = pl.col("hedge").shift(1).over("path")
    swings = full & ((before / MAX_HEDGE).abs() >= FULL_SIZE) & (before * pl.col("hedge") < 0)
    paths = (
        steps.with_columns(swings=swings.fill_null(False))
        .group_by("path", maintain_order=True)
        .agg(
            path_pnl=total.sum(),
            path_sharpe=100 * total.mean() / total.std(ddof=0),
            path_position=pl.col("inventory").abs().mean(),
            path_swings=100 * pl.col("swings").mean(),
        )
    )
    records = [
        record_of(parameters, name, float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))))
        for name in ("path_pnl", "path_sharpe", "path_position", "path_swings")
        for x in (paths[name].to_numpy(),)
    ]
    std = float(paths["path_pnl"].to_numpy().std(ddof=1))
    return [*records, record_of(parameters, "path_pnl_std", std)]


def actions(policy: Policy, positions: np.ndarray, **seen: np.ndarray) -> dict[str, np.ndarray]:
    """Return the hedge and, if any, the skew of a policy at positions and other observations."""

    def one(position: jax.Array, more: dict[str, jax.Array]) -> HedgingAction:
        return policy.act(None, policy.init(), HedgingObservation(inventory=position, **more))[0]

    found = jax.vmap(one)(*jax.tree.map(lambda x: jnp.asarray(x, float), (positions, seen)))
    parts = {"hedge": found.hedge, "skew": found.skew}
    return {name: np.asarray(part, float) for name, part in parts.items() if part is not None}


def curves(x: np.ndarray, name: str, of: Sequence[tuple[Parameters, np.ndarray]]) -> pl.DataFrame:
    """Return curves over positions, each a mean over rows with its standard error, with their parameters as columns."""
    frames = []
    for parameters, rows in of:
        error = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(x.size)
        columns = {"position": x, name: rows.mean(0).astype(float), f"{name}_error": error.astype(float)}
        own = {key: pl.lit(value) for key, value in parameters.items()}
        frames.append(pl.DataFrame(columns).with_columns(**own))
    return pl.concat(frames, how="diagonal")


POLICY_LABELS = {"SAC": "SAC", "optimum": "exact"}


def figure_curves(frame: pl.DataFrame, name: str, label: Callable[..., str], *columns: str) -> go.Figure:
    """Return the figure of the hedge or the skew by position, from `curves`; labels are made from their parameters."""
    panel = {name: "hedge, units" if name == "hedge" else "skew"}
    frame = labelled(frame, label, *columns)
    return figure_lines(frame, "position", panel, "series", x_title="position before the step, units")


def without_breaches() -> Scenario:
    """Return the paper's scenario without breaches, which would end most episodes of an unhedged position."""
    scenario = single_asset()
    return dataclasses.replace(scenario, market=dataclasses.replace(scenario.market, breach_multiple=1e9))


COLUMNS = ("PnL", "std", "Sharpe, %", "position", "swings, %")


def path_cells(
    found: Outcomes, case: str, paper: Mapping[str, float] = {}, **parameters: Parameter
) -> tuple[Cell, ...]:
    """Return the cells of COLUMNS, from the records of `of_paths` with these parameters."""
    digits = {"path_pnl": 0, "path_pnl_std": 0, "path_sharpe": 1, "path_position": 1, "path_swings": 2}
    return tuple(
        Cell(found.estimate(case, metric, **parameters), paper.get(metric), digits=d)
        for metric, d in digits.items()
    )


def dashboard(title: str, steps: pl.DataFrame) -> Figure:
    return Figure(
        title,
        "One episode: prices, spreads, trades, positions by kind and PnL by part.",
        figure_hedging(steps),
    )
