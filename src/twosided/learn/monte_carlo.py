"""Values from sampled days: of cells and of pairs of cell and action, with standard errors, and control with them.

With G_t = r_t + γ r_{t+1} + ... up to the end of the day, v(s) is the mean of G_t over the steps in s, and Q(s, a) over
those in which a was done in s (Sutton and Barto 2018, sections 5.1 to 5.4). Over every visit or the first one of each
day; pooled, all visits of all days alike, which estimates what `twosided.electronic.exact` gives, or the mean of the
days' own means, as in Phelps (2022). Days are independent, so errors are those of means (or ratios of means) of days.

Temporal differences estimate v(s) step by step, V(s) ← V(s) + α (r + γ V(s') - V(s)): `temporal_difference_values`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from twosided.core.numeric import Scalar, as_arrays
from twosided.core.policy import Policy
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.spaces import Cells
from twosided.core.validation import check
from twosided.learn.base import Learner, repeated
from twosided.learn.online import actions_of, check_steps, falling, greedy
from twosided.learn.tables import FinitePolicy, TabularPolicy, cells_of, explored

BATCH_STEPS = 2**18
"""Market steps that are held in memory at a time."""

Visits = Literal["every", "first"]
Average = Literal["pooled", "by episode"]


@dataclass(frozen=True)
class Sampled:
    """Estimates, a row a cell and a column an action; NaN for what was never seen."""

    values: Float[ndarray, "cells actions"]
    errors: Float[ndarray, "cells actions"]
    """Standard errors."""
    visits: Float[ndarray, "cells actions"]
    """How many visits there were."""


def monte_carlo_values(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    seed: int = 0,
    num_episodes: int = 10_000,
    gamma: float = 0.0,
    visits: Visits = "every",
    average: Average = "pooled",
) -> Sampled:
    """v(s) of a policy; one column."""
    return _estimate(scenario, policy, cells, seed, num_episodes, gamma, visits, average, by_action=False)


def monte_carlo_action_values(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    seed: int = 0,
    num_episodes: int = 10_000,
    gamma: float = 0.0,
    visits: Visits = "every",
    average: Average = "pooled",
) -> Sampled:
    """Q(s, a) of a policy; a first visit is one to the pair."""
    return _estimate(scenario, policy, cells, seed, num_episodes, gamma, visits, average, by_action=True)


def _estimate(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    seed: int,
    num_episodes: int,
    gamma: float,
    visits: Visits,
    average: Average,
    by_action: bool,
) -> Sampled:
    check("num_episodes", num_episodes, "at least 2", num_episodes >= 2)
    check("gamma", gamma, "in [0, 1]", 0 <= gamma <= 1)
    num_envs = min(num_episodes, max(2, BATCH_STEPS // scenario.horizon))
    keys = jax.random.split(jax.random.key(seed), -(-num_episodes // num_envs))
    first = visits == "first"
    returns, counts = _sums(
        as_arrays(scenario), as_arrays(policy), cells, keys, num_envs, jnp.asarray(gamma), first, by_action
    )
    returns, counts = (np.asarray(x, float)[:num_episodes] for x in (returns, counts))
    if average == "by episode":
        # A day that never came there says nothing.
        seen = counts > 0
        returns, weights = np.where(seen, returns / np.maximum(counts, 1), 0.0), seen.astype(float)
    else:
        weights = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        values = returns.sum(0) / weights.sum(0)
        influences = (returns - values * weights) / weights.mean(0)
        errors = influences.std(0, ddof=1) / np.sqrt(len(returns))
    return Sampled(values, errors, counts.sum(0))


@eqx.filter_jit
def _sums(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    keys: Any,
    num_envs: int,
    gamma: Any,
    first: bool,
    by_action: bool,
):
    """Sums of returns and numbers of visits of each day, (days, cells, actions)."""

    def batch(key: Any) -> tuple[Array, Array]:
        pairs, rewards = episodes(
            scenario, policy, key, num_envs, partial(_lived, scenario, cells, by_action)
        )
        return day_sums(pairs, rewards, gamma, first)

    returns, counts = jax.lax.map(batch, keys)
    return returns.reshape(-1, *returns.shape[2:]), counts.reshape(-1, *counts.shape[2:])


def _lived(scenario: Scenario, cells: Cells, by_action: bool, observation: Any, memory: Any, step: Step):
    """1 at the pair of a step, and its reward."""
    row = (jnp.arange(cells.size) == cells(observation)).astype(step.reward.dtype)
    column = taken(scenario, step) if by_action else jnp.ones(1, row.dtype)
    return row[:, None] * column, step.reward


def taken(scenario: Scenario, step: Step) -> Float[Array, "actions"]:
    """1 at the action of the list that the learner took."""
    mine = jax.tree.map(lambda leaf: leaf[0], step.action)
    same = jax.tree.map(lambda listed, leaf: listed == leaf, actions_of(scenario).actions, mine)
    return jnp.stack(jax.tree.leaves(same)).all(0).astype(step.reward.dtype)


def day_sums(
    pairs: Float[Array, "steps days cells actions"],
    rewards: Float[Array, "steps days"],
    gamma: Scalar,
    first: bool,
) -> tuple[Float[Array, "days cells actions"], Float[Array, "days cells actions"]]:
    """Sums of the returns from each pair, and the number of visits to it, of each day."""
    if first:
        pairs = pairs * (jnp.cumsum(pairs, 0) == 1)

    def back(carry: Any, x: Any) -> tuple[Any, None]:
        following, returns = carry
        pair, reward = x
        now = reward + gamma * following
        return (now, returns + now[:, None, None] * pair), None

    nothing = (jnp.zeros_like(rewards[0]), jnp.zeros_like(pairs[0]))
    (_, returns), _ = jax.lax.scan(back, nothing, (pairs, rewards), reverse=True)
    return returns, pairs.sum(0)


def temporal_difference_values(
    scenario: Scenario,
    policy: FinitePolicy,
    cells: Cells,
    seed: int = 0,
    num_episodes: int = 10_000,
    gamma: float = 0.0,
    alpha: float = 0.05,
    alpha_end: float = 0.0005,
    num_envs: int = 32,
) -> Float[ndarray, "num_envs cells"]:
    """v(s) by TD(0), learned on a number of paths apart, each as many days long; a path's rows are one estimate.

    A day that the horizon cuts goes on as far as the estimate is concerned. What is never visited stays 0.
    """
    check("num_episodes", num_episodes, "at least 1", num_episodes >= 1)
    check("gamma", gamma, "in [0, 1)", 0 <= gamma < 1)
    scenario, policy = as_arrays(scenario), as_arrays(policy)
    schedule = jnp.asarray(alpha), jnp.asarray(alpha_end)
    return np.asarray(
        _td(
            scenario,
            policy,
            cells,
            jax.random.key(seed),
            num_episodes,
            jnp.asarray(gamma),
            schedule,
            num_envs,
        )
    )


@eqx.filter_jit
def _td(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    key: Any,
    num_episodes: int,
    gamma: Any,
    schedule: Any,
    num_envs: int,
):
    def record(observation: Any, memory: Any, step: Step) -> tuple[Array, Array, Array]:
        ahead = jnp.where(step.terminated, 0.0, gamma)
        rows = jnp.stack([cells(observation), cells(step.observation)])
        return (rows[:, None] == jnp.arange(cells.size)).astype(step.reward.dtype), step.reward, ahead

    def day(values: Array, x: Any) -> tuple[Array, None]:
        key, progress = x
        alpha = falling(schedule[0], schedule[1], progress)

        def one(values: Array, lived: Any) -> tuple[Array, None]:
            rows, reward, ahead = lived
            seen = (rows * values[:, None]).sum(-1)
            error = reward + ahead * seen[:, 1] - seen[:, 0]
            return values + alpha * error[:, None] * rows[:, 0], None

        return jax.lax.scan(one, values, episodes(scenario, policy, key, num_envs, record))

    progress = jnp.arange(num_episodes) / max(num_episodes - 1, 1)
    return jax.lax.scan(
        day, jnp.zeros((num_envs, cells.size)), (jax.random.split(key, num_episodes), progress)
    )[0]


class ControlState(eqx.Module):
    """Where control stands."""

    q: Float[Array, "cells actions"]
    key: Any
    iteration: Int[Array, ""]


class MonteCarloControl(Learner):
    """Generalised policy iteration with sampled days: a few days with ε-greedy makers, then their returns move Q."""

    total_timesteps: int = eqx.field(static=True, default=750_000)
    """Market steps to learn from, a seed; 5,000 days of 150."""
    num_episodes: int = eqx.field(static=True, default=50)
    """Days side by side between two updates."""
    horizon: int = eqx.field(static=True, default=150)
    """Steps of a day, the scenario's."""
    cells: Cells | None = None
    """Rows of the table: how observations are grouped. None takes the market's default."""
    gamma: Scalar = 0.9
    """γ, a step."""
    alpha: Scalar = 0.5
    """Share of the way from Q to the days' mean return, at first."""
    alpha_end: Scalar = 0.05
    """The same at the end; it falls by equal factors."""
    epsilon: Scalar = 0.3
    """ε at first, probability of any action instead of the best."""
    epsilon_end: Scalar = 0.1
    """ε at the end; it falls by equal factors."""

    def __check_init__(self):
        check_steps(self.total_timesteps, self.num_episodes * self.horizon)
        check("gamma", self.gamma, "in [0, 1]", lambda: 0 <= self.gamma <= 1)
        for name in ("alpha", "alpha_end", "epsilon", "epsilon_end"):
            value = getattr(self, name)
            check(name, value, "positive and at most 1", lambda value=value: 0 < value <= 1)

    @property
    def iterations(self) -> int:
        return -(-self.total_timesteps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_episodes * self.horizon

    def begin(self, scenario, key):
        check(
            "horizon", self.horizon, f"the scenario's ({scenario.horizon})", self.horizon == scenario.horizon
        )
        table = jnp.zeros((cells_of(scenario, self.cells).size, actions_of(scenario).size))
        return ControlState(table, key, jnp.zeros((), jnp.int32))

    def train_chunk(self, scenario, state, iterations):
        """A number of iterations; `reward` is the mean a step of the exploring makers."""

        def iterate(state: ControlState) -> tuple[ControlState, dict[str, Any]]:
            key_now, key = jax.random.split(state.key)
            progress = state.iteration / max(self.iterations - 1, 1)
            maker = self._maker(scenario, state.q, falling(self.epsilon, self.epsilon_end, progress))
            pairs, rewards = episodes(
                scenario,
                maker,
                key_now,
                self.num_episodes,
                partial(_lived, scenario, cells_of(scenario, self.cells), True),
            )
            returns, counts = (x.sum(0) for x in day_sums(pairs, rewards, self.gamma, False))
            error = jnp.where(counts > 0, returns / jnp.maximum(counts, 1) - state.q, 0.0)
            q = state.q + falling(self.alpha, self.alpha_end, progress) * error
            return ControlState(q, key, state.iteration + 1), {"reward": rewards.mean()}

        return repeated(iterate, state, iterations)

    def policy(self, scenario, state, explore=False):
        return self._maker(scenario, state.q, self.epsilon_end if explore else 0.0)

    def _maker(self, scenario: Scenario, q: Array, epsilon: Scalar) -> TabularPolicy:
        return TabularPolicy(
            explored(greedy(q), epsilon), cells_of(scenario, self.cells), actions_of(scenario)
        )
