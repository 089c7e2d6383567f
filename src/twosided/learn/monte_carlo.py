"""Monte Carlo estimates of state values and action values, with standard errors, and Monte Carlo control.

With G_t = r_t + γ r_{t+1} + ... up to the end of the episode, v(s) is the mean of G_t over the steps in s, and Q(s, a)
over those with action a in s (Sutton and Barto 2018, sections 5.1 to 5.4). Estimates use every visit, or the first
visit of each episode. They are pooled over all visits of all episodes, which estimates the values of
`twosided.electronic.exact`, or they are the mean of the episodes' own means, as in Phelps (2022). Episodes of
a simulated market are independent, so standard errors are those of means (or ratios of means) over episodes. Episodes
of a recorded history are not: errors are then over blocks of the history (`twosided.core.blocks`), and NaN where it is
too short for them.

`temporal_difference_values` estimates v(s) step by step, by TD(0): V(s) ← V(s) + α (r + γ V(s') - V(s)).
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

from twosided.core.blocks import Blocks, block_values, history_blocks
from twosided.core.numeric import Scalar, as_arrays
from twosided.core.policy import Policy
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.spaces import Cells
from twosided.core.validation import check
from twosided.learn.base import Learner, run_iterations
from twosided.learn.online import discrete_actions, geometric_schedule, greedy
from twosided.learn.tables import FinitePolicy, TabularPolicy, cells_or_default, epsilon_soft

BATCH_STEPS = 2**18
"""Market steps held in memory at a time."""

Visits = Literal["every", "first"]
Average = Literal["pooled", "by episode"]


@dataclass(frozen=True)
class MonteCarloEstimates:
    """Estimates with one row per cell and one column per action; NaN where a pair was never visited."""

    values: Float[ndarray, "cells actions"]
    """Estimated values."""
    errors: Float[ndarray, "cells actions"]
    """Standard errors."""
    visits: Float[ndarray, "cells actions"]
    """Number of visits."""


def monte_carlo_values(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    seed: int = 0,
    num_episodes: int = 10_000,
    gamma: float = 0.0,
    visits: Visits = "every",
    average: Average = "pooled",
) -> MonteCarloEstimates:
    """Estimate v(s) of a policy; the estimates have a single column.

    Raises ValueError if there are fewer than 2 episodes, or gamma is not in [0, 1].
    """
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
) -> MonteCarloEstimates:
    """Estimate Q(s, a) of a policy; a first visit is the first to the pair.

    Raises ValueError if there are fewer than 2 episodes, or gamma is not in [0, 1].
    """
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
) -> MonteCarloEstimates:
    check("num_episodes", num_episodes, "at least 2", num_episodes >= 2)
    check("gamma", gamma, "in [0, 1]", 0 <= gamma <= 1)
    num_envs = min(num_episodes, max(2, BATCH_STEPS // scenario.horizon))
    keys = jax.random.split(jax.random.key(seed), -(-num_episodes // num_envs))
    first = visits == "first"
    returns, counts, place = _batched_sums(
        as_arrays(scenario), as_arrays(policy), cells, keys, num_envs, jnp.asarray(gamma), first, by_action
    )
    returns, counts = (np.asarray(x, float)[:num_episodes] for x in (returns, counts))
    blocks = history_blocks(scenario)
    if average == "by episode":
        # Episodes without a visit do not count.
        seen = counts > 0
        returns, weights = np.where(seen, returns / np.maximum(counts, 1), 0.0), seen.astype(float)
    else:
        weights = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        values = returns.sum(0) / weights.sum(0)
        influences = (returns - values * weights) / weights.mean(0)
        if blocks is not None:
            influences = _block_influences(blocks, np.asarray(place)[:num_episodes], influences)
        errors = influences.std(0, ddof=1) / np.sqrt(len(influences))
    return MonteCarloEstimates(values, errors, counts.sum(0))


@eqx.filter_jit
def _batched_sums(
    scenario: Scenario,
    policy: Policy,
    cells: Cells,
    keys: Any,
    num_envs: int,
    gamma: Any,
    first: bool,
    by_action: bool,
):
    """Return the sums of returns and the numbers of visits of each episode, both (episodes, cells, actions); and with a
    history the places where they start."""

    def record(observation: Any, policy_state: Any, step: Step) -> Any:
        pair_and_reward = _pair_and_reward(scenario, cells, by_action, observation, policy_state, step)
        return *pair_and_reward, step.place

    def batch(key: Any) -> tuple[Array, Array, Array | None]:
        pairs, rewards, place = episodes(scenario, policy, key, num_envs, record)
        return *return_sums(pairs, rewards, gamma, first), None if place is None else place[0]

    sums = jax.lax.map(batch, keys)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), sums)


def _block_influences(blocks: Blocks, start: ndarray, influences: ndarray) -> ndarray:
    """Return the values of the blocks of a history whose standard error is that of the mean of the influences."""
    number, start = blocks.number, blocks.of_starts(start) if blocks.number else start
    if not number or len(np.unique(start)) < number:
        return np.full((2, *influences.shape[1:]), np.nan)
    member = (np.arange(number)[:, None] == start).astype(float)
    return block_values(np.tensordot(member, influences, 1), member.sum(1))


def _pair_and_reward(
    scenario: Scenario, cells: Cells, by_action: bool, observation: Any, policy_state: Any, step: Step
):
    """Return 1(s, a) of a step, and its reward."""
    row = (jnp.arange(cells.size) == cells(observation)).astype(step.reward.dtype)
    column = action_one_hot(scenario, step) if by_action else jnp.ones(1, row.dtype)
    return row[:, None] * column, step.reward


def action_one_hot(scenario: Scenario, step: Step) -> Float[Array, "actions"]:
    """Return the learner's action in a step as a one-hot vector."""
    own = jax.tree.map(lambda leaf: leaf[0], step.action)
    same = jax.tree.map(lambda listed, leaf: listed == leaf, discrete_actions(scenario).actions, own)
    return jnp.stack(jax.tree.leaves(same)).all(0).astype(step.reward.dtype)


def return_sums(
    pairs: Float[Array, "steps episodes cells actions"],
    rewards: Float[Array, "steps episodes"],
    gamma: Scalar,
    first: bool,
) -> tuple[Float[Array, "episodes cells actions"], Float[Array, "episodes cells actions"]]:
    """Return the sum of the returns from each pair, and the number of visits to it, for each episode.

    `pairs` is 1(s, a) of each step. `first` restricts both to the first visit in each episode.
    """
    if first:
        pairs = pairs * (jnp.cumsum(pairs, 0) == 1)

    def backward(carry: Any, x: Any) -> tuple[Any, None]:
        next_return, returns = carry
        pair, reward = x
        discounted = reward + gamma * next_return
        return (discounted, returns + discounted[:, None, None] * pair), None

    zeros = (jnp.zeros_like(rewards[0]), jnp.zeros_like(pairs[0]))
    (_, returns), _ = jax.lax.scan(backward, zeros, (pairs, rewards), reverse=True)
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
    """Estimate v(s) of a policy by TD(0), independently in each of `num_envs` environments.

    Raises ValueError if there is no episode, or gamma is not in [0, 1).

    Each estimate, a row of the result, comes from `num_episodes` episodes, over which α follows a geometric schedule
    from `alpha` to `alpha_end`. An episode truncated at the horizon is bootstrapped from its last observation. Cells
    that are never visited stay at 0.
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
    def record(observation: Any, policy_state: Any, step: Step) -> tuple[Array, Array, Array]:
        discount = jnp.where(step.terminated, 0.0, gamma)
        rows = jnp.stack([cells(observation), cells(step.observation)])
        return (rows[:, None] == jnp.arange(cells.size)).astype(step.reward.dtype), step.reward, discount

    def episode(values: Array, x: Any) -> tuple[Array, None]:
        key, progress = x
        alpha = geometric_schedule(schedule[0], schedule[1], progress)

        def one(values: Array, recorded: Any) -> tuple[Array, None]:
            rows, reward, discount = recorded
            value = (rows * values[:, None]).sum(-1)
            error = reward + discount * value[:, 1] - value[:, 0]
            return values + alpha * error[:, None] * rows[:, 0], None

        return jax.lax.scan(one, values, episodes(scenario, policy, key, num_envs, record))

    progress = jnp.arange(num_episodes) / max(num_episodes - 1, 1)
    zeros = jnp.zeros((num_envs, cells.size))
    return jax.lax.scan(episode, zeros, (jax.random.split(key, num_episodes), progress))[0]


class TrainState(eqx.Module):
    """Training state: everything that training needs to resume."""

    q: Float[Array, "cells actions"]
    """Q."""
    key: Any
    """Key of the random numbers still to be drawn."""
    iteration: Int[Array, ""]
    """Iterations completed."""


class MonteCarloControl(Learner):
    """Monte Carlo control: episodes of an ε-greedy maker, whose returns update the table."""

    total_timesteps: int = eqx.field(static=True, default=750_000)
    """Training steps per seed. The default is 5,000 days of 150 steps."""
    num_episodes: int = eqx.field(static=True, default=50)
    """Episodes, side by side, between two updates."""
    horizon: int = eqx.field(static=True, default=150)
    """Steps per episode. It must be the scenario's."""
    cells: Cells | None = None
    """Grouping of observations into the rows of the table. None uses the market's default."""
    gamma: Scalar = 0.9
    """Discount factor γ per step."""
    alpha: Scalar = 0.5
    """Initial learning rate: Q changes by this share of its distance to the episodes' mean return."""
    alpha_end: Scalar = 0.05
    """Final learning rate, on a geometric schedule."""
    epsilon: Scalar = 0.3
    """Initial probability ε of a uniformly drawn action."""
    epsilon_end: Scalar = 0.1
    """Final probability ε, on a geometric schedule."""

    def __check_init__(self):
        check("total_timesteps", self.total_timesteps, "at least 1", self.total_timesteps >= 1)
        check(
            "num_episodes",
            self.num_episodes,
            f"at least 1 and at most 1000000 over horizon ({self.horizon})",
            1 <= self.steps_per_iteration <= 1_000_000,
        )
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

    def init(self, scenario, key):
        check(
            "horizon", self.horizon, f"the scenario's ({scenario.horizon})", self.horizon == scenario.horizon
        )
        space = discrete_actions(scenario)
        table = jnp.zeros((cells_or_default(scenario, self.cells).size, space.size))
        return TrainState(table, key, jnp.zeros((), jnp.int32))

    def train_chunk(self, scenario, state, iterations):
        """Run a number of iterations. Metric `reward`: mean reward per step while exploring."""

        def iterate(state: TrainState) -> tuple[TrainState, dict[str, Any]]:
            key_episodes, key = jax.random.split(state.key)
            progress = state.iteration / max(self.iterations - 1, 1)
            epsilon = geometric_schedule(self.epsilon, self.epsilon_end, progress)
            record = partial(_pair_and_reward, scenario, cells_or_default(scenario, self.cells), True)
            maker = self._maker(scenario, state.q, epsilon)
            pairs, rewards = episodes(scenario, maker, key_episodes, self.num_episodes, record)
            returns, counts = (x.sum(0) for x in return_sums(pairs, rewards, self.gamma, False))
            error = jnp.where(counts > 0, returns / jnp.maximum(counts, 1) - state.q, 0.0)
            q = state.q + geometric_schedule(self.alpha, self.alpha_end, progress) * error
            return TrainState(q, key, state.iteration + 1), {"reward": rewards.mean()}

        return run_iterations(iterate, state, iterations)

    def policy(self, scenario, state, explore=False):
        """Return the greedy policy of the table, or with `explore` the ε-greedy policy of the final ε."""
        return self._maker(scenario, state.q, self.epsilon_end if explore else 0.0)

    def _maker(self, scenario: Scenario, q: Array, epsilon: Scalar) -> TabularPolicy:
        return TabularPolicy(
            epsilon_soft(greedy(q), epsilon),
            cells_or_default(scenario, self.cells),
            discrete_actions(scenario),
        )
