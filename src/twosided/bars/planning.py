"""Soft actor-critic that plans: it learns from what it lived and from what a model says would follow.

Model-based policy optimisation (Janner, Fu, Zhang & Levine 2019, algorithm 2). After each rollout in the market,

    1. M states are drawn from those that were lived through, each as likely as any other
    2. from each the model goes on for k steps under the policy of now, at parameters of its own; what is seen goes into
       a second ring
    3. every gradient step takes a share n / (1 + n) of its batch from that ring, n simulated rows for each real one

so steps of the market, which are few and dear, are put to use many times, and never the same way twice. The market is
one on bars (`twosided.bars.market`); fills, fees and rewards are its own, only the bars are the model's.

Real rows alone set the scales of observations and rewards.
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
from twosided.learn.base import repeated
from twosided.learn.replay import Replay
from twosided.learn.sac import SAC, Experience, TrainState, explorer, learned, recorder


class PlanState(eqx.Module):
    """Where training stands; everything that it needs to go on."""

    real: TrainState
    starts: Replay
    """Of states of the market that were lived through."""
    simulated: Replay
    """Of what the model said would follow."""


class PlanningSAC(SAC):
    """Soft actor-critic that also learns from paths of a model of the bars, begun where it has been."""

    model: BarModel = eqx.field(kw_only=True)
    """What bars are expected to do."""
    simulated_rows: float = eqx.field(static=True, default=10.0, kw_only=True)
    """n, rows of a batch that come from the model for each that was lived; 0: none, and no planning."""
    plan_horizon: int = eqx.field(static=True, default=5, kw_only=True)
    """k, steps of the model from each start."""
    plan_paths: int = eqx.field(static=True, default=64, kw_only=True)
    """M, starts after each rollout."""
    plan_buffer_size: int = eqx.field(static=True, default=100_000, kw_only=True)
    """Rows from the model that are kept: old ones were lived by an old policy."""

    def __check_init__(self):
        rows = self.simulated_rows
        check("simulated_rows", rows, "at least 0 and finite", is_at_least(rows, 0))
        for name in ("plan_horizon", "plan_paths"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        made = self.plan_horizon * self.plan_paths
        holds = f"at least the {made} steps of one iteration's plans"
        check("plan_buffer_size", self.plan_buffer_size, holds, self.plan_buffer_size >= made)

    def prepare(self, scenario, tell):
        """Refuse a model of other bars than the market's; fit it, if it is one that is fitted."""
        ours, its = self._history(scenario), self.model.record
        number = min(ours.number, its.number)
        pairs = zip(jax.tree.leaves(ours.bars), jax.tree.leaves(its.bars), strict=True)
        apart = np.any([np.asarray(a)[:number] != np.asarray(b)[:number] for a, b in pairs], axis=0)
        if apart.any() or ours.number != its.number:
            where = f"bar {int(apart.argmax())} is another" if apart.any() else f"there are {ours.number}"
            raise Refusal(
                f"learner.model must be of the market's own bars, but it is of {its.number} bars, and in the market"
                f" {where}"
            )
        self.model.prepare(tell)

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> PlanState:
        """As SAC begins; the first start of plans is where the warm-up ends."""
        self._modelled(scenario)
        real = super().begin(scenario, key)
        first = jax.tree.map(lambda leaf: leaf[0], real.carry.state)
        row = jax.tree.map(lambda leaf: leaf[0], real.replays.rows)
        most = min(self.buffer_size, (1 + self.iterations) * self.num_envs)
        starts = Replay.empty(most, first).add(real.carry.state)
        return PlanState(real, starts, Replay.empty(self.plan_buffer_size, row))

    def train_chunk(
        self, scenario: Scenario, state: PlanState, iterations: Int[jax.Array, ""]
    ) -> tuple[PlanState, dict]:
        """As SAC's; `simulated_reward` is the model's mean reward a step beside `reward`, the market's."""
        return repeated(lambda state: self._plan_and_learn(scenario, state), state, iterations)

    def _plan_and_learn(self, scenario: Scenario, state: PlanState) -> tuple[PlanState, dict]:
        real, reward, key_updates = self.lived(scenario, state.real)
        starts = state.starts.add(real.carry.state)
        # Folded in, so that without rows of the model this is SAC to the bit.
        plans = self._plans(scenario, real, starts, jax.random.fold_in(key_updates, 1))
        simulated = state.simulated.add(plans)
        from_model = round(self.batch_size * self.simulated_rows / (1 + self.simulated_rows))
        sources = ((real.replays, self.batch_size - from_model), (simulated, from_model))
        agents, metrics = learned(self, scenario, real.agents, sources, real.iteration, key_updates)
        real = dataclasses.replace(real, agents=agents, iteration=real.iteration + 1)
        return PlanState(real, starts, simulated), metrics | {
            "reward": reward,
            "simulated_reward": plans.reward.mean(),
        }

    def _plans(self, scenario: Scenario, real: TrainState, starts: Replay, key: PRNGKeyArray) -> Experience:
        """What the model says would follow from some of the starts."""
        key_starts, key_model, key_steps = jax.random.split(key, 3)
        model, policy = self._modelled(scenario), explorer(self, scenario, real.agents)
        shocks = model.market.shocks(key_model, (self.plan_paths,)).source

        def begun(state: ScenarioState, shock: Any) -> Carry:
            market = dataclasses.replace(state.market, price=self.model.continued(state.market.price, shock))
            time = jnp.zeros_like(state.time)
            state = dataclasses.replace(state, market=market, time=time)
            return Carry(state, jax.tree.map(lambda leaf: leaf[0], state.observation), policy.init())

        carry = jax.vmap(begun)(starts.sample(key_starts, self.plan_paths), shocks)
        _, (rows, _) = rollout(model, policy, carry, key_steps, self.plan_horizon, recorder(scenario))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)

    def _history(self, scenario: Scenario) -> RecordedBars:
        """The bars of the market. Raises ValueError for one that has no record of them, or more learners than one."""
        market = scenario.market
        if not isinstance(market, BarsMarket) or scenario.learners > 1:
            raise ValueError("learner plans in markets on bars, alone: bars-market with one learner")
        if market.source.history is None:
            raise ValueError(
                "learner plans from bars that are recorded, as those of file-bars are, but market.source is"
                f" {type(market.source).__name__}"
            )
        return market.source.history

    def _modelled(self, scenario: Scenario) -> Scenario:
        """The scenario with the model's bars. Raises ValueError as `_history` does."""
        self._history(scenario)
        market = dataclasses.replace(scenario.market, source=self.model)
        # A plan is cut at its end; whoever ends before it begins anew somewhere in the record.
        return dataclasses.replace(scenario, market=market, horizon=self.plan_horizon)

    def policy(self, scenario: Scenario, state: PlanState, explore: bool = False):
        """The policy as it stands: its mode, or the distribution that it explores with."""
        return super().policy(scenario, state.real, explore)
