"""Model-based soft actor-critic on bars: it learns from real experience and from paths of a model.

Model-based policy optimisation (Janner, Fu, Zhang & Levine 2019, algorithm 2). After each rollout in the market,

    1. M start states are drawn uniformly from the market states visited so far
    2. from each, the model is simulated for k steps under the current policy, with its own draw of the parameters; the
       simulated experience goes into a second replay buffer
    3. every gradient step takes a share n / (1 + n) of its batch from that buffer: n simulated rows per real row

Steps of the market are few and expensive. Planning uses each of them many times, with other simulated paths every time.
The market is one on bars (`twosided.bars.market`). Its fills, fees and rewards are used in simulation too; only the
bars come from the model.

Only real experience sets the scales of observations and rewards.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from twosided.bars.market import BarsMarket
from twosided.bars.source import BarModel, RecordedBars
from twosided.core.errors import Refusal
from twosided.core.rollout import Carry, rollout
from twosided.core.scenario import Scenario, ScenarioState
from twosided.core.validation import check, is_at_least
from twosided.learn.base import run_iterations
from twosided.learn.replay import ReplayBuffer
from twosided.learn.sac import (
    SAC,
    Experience,
    TrainState,
    experience_recorder,
    exploring_policy,
    update_agents,
)


class PlanningState(eqx.Module):
    """Training state: everything that training needs to resume."""

    real: TrainState
    """Training state of soft actor-critic, with the replay buffer of real experience."""
    starts: ReplayBuffer
    """Scenario states visited so far, from which the model starts."""
    simulated: ReplayBuffer
    """Replay buffer of simulated experience."""


class PlanningSAC(SAC):
    """Soft actor-critic that also learns from simulated paths of a model of the bars, started from visited states."""

    model: BarModel = eqx.field(kw_only=True)
    """Model of the bars."""
    simulated_ratio: float = eqx.field(static=True, default=10.0, kw_only=True)
    """Simulated rows n in a batch per real row. 0 disables planning."""
    plan_horizon: int = eqx.field(static=True, default=5, kw_only=True)
    """Steps k of the model from each start state."""
    plan_paths: int = eqx.field(static=True, default=64, kw_only=True)
    """Start states M, each with one path of the model, after each rollout."""
    plan_buffer_size: int = eqx.field(static=True, default=100_000, kw_only=True)
    """Largest number of simulated rows kept. Older ones were simulated under an older policy."""

    def __check_init__(self):
        ratio = self.simulated_ratio
        check("simulated_ratio", ratio, "at least 0 and finite", is_at_least(ratio, 0))
        for name in ("plan_horizon", "plan_paths"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        steps = self.plan_horizon * self.plan_paths
        bound = f"at least {steps}, the simulated steps of an iteration"
        check("plan_buffer_size", self.plan_buffer_size, bound, self.plan_buffer_size >= steps)

    def prepare(self, scenario, report):
        """Check that the model is of the market's own bars, and fit it if it needs fitting.

        The model may be of later bars too, such as those held out of training: after a bar it uses only those so far.

        Raises Refusal if the bars differ, and ValueError if the market has no recorded bars or several learners.
        """
        history, record = self._history(scenario), self.model.record
        number = min(history.number, record.number)
        pairs = zip(jax.tree.leaves(history.bars), jax.tree.leaves(record.bars), strict=True)
        differs = np.any([np.asarray(a)[:number] != np.asarray(b)[:number] for a, b in pairs], axis=0)
        if differs.any() or history.number > record.number:
            difference = (
                f"bar {int(differs.argmax())} differs"
                if differs.any()
                else f"it has {record.number} bars and the market {history.number}"
            )
            raise Refusal(f"learner.model must be of the market's own bars, but {difference}")
        self.model.prepare(report)

    def init(self, scenario: Scenario, key: PRNGKeyArray) -> PlanningState:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Initialize as SAC does. The first start state is the one reached after learning_starts."""
        self._model_scenario(scenario)
        real = super().init(scenario, key)
        state = jax.tree.map(lambda leaf: leaf[0], real.carry.state)
        row = jax.tree.map(lambda leaf: leaf[0], real.buffers.rows)
        capacity = min(self.buffer_size, (1 + self.iterations) * self.num_envs)
        starts = ReplayBuffer.empty(capacity, state).add(real.carry.state)
        return PlanningState(real, starts, ReplayBuffer.empty(self.plan_buffer_size, row))

    def train_chunk(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, scenario: Scenario, state: PlanningState, iterations: Int[jax.Array, ""]
    ) -> tuple[PlanningState, dict[str, Any]]:
        """Run a number of iterations and return the state and the mean of each metric.

        The metrics are those of SAC, and `simulated_reward`: mean reward per step of the model, where `reward` is the
        market's.
        """
        return run_iterations(lambda state: self._plan_and_update(scenario, state), state, iterations)

    def _plan_and_update(
        self, scenario: Scenario, state: PlanningState
    ) -> tuple[PlanningState, dict[str, Any]]:
        real, reward, key_updates = self.collect(scenario, state.real)
        starts = state.starts.add(real.carry.state)
        # The key is folded in, so that a simulated_ratio of 0 gives the results of SAC to the bit.
        rows = self._simulate(scenario, real, starts, jax.random.fold_in(key_updates, 1))
        simulated = state.simulated.add(rows)
        simulated_count = round(self.batch_size * self.simulated_ratio / (1 + self.simulated_ratio))
        sources = ((real.buffers, self.batch_size - simulated_count), (simulated, simulated_count))
        agents, metrics = update_agents(self, scenario, real.agents, sources, real.iteration, key_updates)
        real = dataclasses.replace(real, agents=agents, iteration=real.iteration + 1)
        return PlanningState(real, starts, simulated), metrics | {
            "reward": reward,
            "simulated_reward": rows.reward.mean(),
        }

    def _simulate(
        self, scenario: Scenario, real: TrainState, starts: ReplayBuffer, key: PRNGKeyArray
    ) -> Experience:
        """Simulate the model from sampled start states."""
        key_starts, key_model, key_steps = jax.random.split(key, 3)
        model, policy = self._model_scenario(scenario), exploring_policy(self, scenario, real.agents)
        shocks = model.market.shocks(key_model, (self.plan_paths,)).source

        def start(state: ScenarioState, shock: Any) -> Carry:
            market = dataclasses.replace(state.market, price=self.model.continued(state.market.price, shock))
            time = jnp.zeros_like(state.time)
            state = dataclasses.replace(state, market=market, time=time)
            return Carry(state, jax.tree.map(lambda leaf: leaf[0], state.observation), policy.init())

        carry = jax.vmap(start)(starts.sample(key_starts, self.plan_paths), shocks)
        _, (rows, _) = rollout(
            model, policy, carry, key_steps, self.plan_horizon, experience_recorder(scenario)
        )
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)

    def _history(self, scenario: Scenario) -> RecordedBars:
        """Return the market's recorded bars.

        Raises ValueError if the market is not one on bars with one learner, or has no recorded bars.
        """
        market = scenario.market
        if not isinstance(market, BarsMarket) or scenario.learners > 1:
            raise ValueError("learner plans only in a bars-market with one learner")
        if market.source.history is None:
            raise ValueError(
                "learner plans only from recorded bars, such as those of file-bars, but market.source is"
                f" {type(market.source).__name__}"
            )
        return market.source.history

    def _model_scenario(self, scenario: Scenario) -> Scenario:
        """Return the scenario with the bars of the model. Raises ValueError as `_history` does."""
        self._history(scenario)
        market = dataclasses.replace(scenario.market, source=self.model)
        # The horizon cuts each path; a path that the market terminates earlier restarts somewhere in the record.
        return dataclasses.replace(scenario, market=market, horizon=self.plan_horizon)

    def policy(self, scenario: Scenario, state: PlanningState, explore: bool = False):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the current policy: its mode, or with `explore` its distribution."""
        return super().policy(scenario, state.real, explore)
