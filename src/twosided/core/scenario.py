"""Scenario: the environment of a learner, with a market, the competitors in its other seats, a reward and a horizon.

A scenario has a policy in every seat but the learners', computes the reward, and truncates episodes at the horizon.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from twosided.core.market import Market
from twosided.core.policy import Policy
from twosided.core.reward import Reward, TotalPnL
from twosided.core.spaces import Box, Discrete
from twosided.core.transition import Transition
from twosided.core.validation import check


class ScenarioState(eqx.Module):
    """State of one path, with the states of the reward and of the competitors."""

    market: Any
    observation: Any
    time: Int[Array, ""]
    reward: Any
    policy_states: tuple[Any, ...]


class ScenarioShock(eqx.Module):
    """Random inputs of the market and of the competitors."""

    market: Any
    seats: tuple[Any, ...]


class Step(eqx.Module):
    """Step of a scenario for its learner; with several learners, leaves have a leading axis of learners."""

    observed: Any
    """Observation that every maker acted on, leaves with a leading axis of makers."""
    observation: Any
    """Observation of the learner after the step and before any reset, from which returns are bootstrapped."""
    reward: Float[Array, "*learners"]
    """Reward of the learner."""
    terminated: Bool[Array, ""]
    """Whether the market ended the episode; the value after the step is 0."""
    truncated: Bool[Array, ""]
    """Whether the horizon ended the episode; the value after the step is that of `observation`."""
    action: Any
    """Action of every maker, leaves with a leading axis of makers."""
    transition: Transition
    """Transition of the market."""
    place: Int[Array, ""] | None = None
    """Place of the step in the market's history; None in a market without one."""


class Scenario(eqx.Module):
    """Environment of a learner: a market, the competitors in its other seats, a reward and a horizon.

    With one learner it is a Markov decision process: observation, action and reward are those of seat 0. With several
    learners it is a Markov game: the first seats are theirs, and all three have a leading axis of learners.
    """

    market: Market
    """Rules of trade."""
    competitors: tuple[Policy, ...]
    """Policies in the seats after the learners'."""
    reward: Reward = TotalPnL()
    """Reward of each learner."""
    horizon: int = eqx.field(static=True, default=200)
    """Steps of an episode; its end is a truncation, not a termination."""
    learners: int = eqx.field(static=True, default=1)
    """Number of learning seats, from seat 0 on."""

    def __check_init__(self):
        check_horizon(self.horizon)
        makers = self.market.num_makers
        check(
            "learners", self.learners, f"from 1 to the market's {makers} makers", 1 <= self.learners <= makers
        )
        needed, offered = self.reward.extras, self.market.extras
        if needed is not None and not (offered is not None and issubclass(offered, needed)):
            raise ValueError(
                f"reward {type(self.reward).__name__} needs {needed.__name__}, which "
                f"{type(self.market).__name__} does not report"
            )
        others = makers - self.learners
        if len(self.competitors) != others:
            raise ValueError(
                f"competitors must fill the {others} other seats of a market of {makers} makers, "
                f"but got {len(self.competitors)}"
            )

    @property
    def action_space(self) -> Box | Discrete:
        """Action space of one maker."""
        return self.market.action_space

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> ScenarioShock:
        """Draw the random inputs of every part, with the given leading axes."""
        keys = jax.random.split(key, 1 + len(self.competitors))
        seats = tuple(policy.shocks(k, shape) for policy, k in zip(self.competitors, keys[1:], strict=True))
        return ScenarioShock(market=self.market.shocks(keys[0], shape), seats=seats)

    def reset(self, shock: ScenarioShock) -> tuple[ScenarioState, Any]:
        """Return the state at the start of a first episode, and the learner's observation."""
        market, observation = self.market.reset(shock.market)
        state = ScenarioState(
            market=market,
            observation=observation,
            time=jnp.zeros((), jnp.int32),
            reward=jax.tree.map(lambda leaf: jnp.stack([leaf] * self.learners), self.reward.init()),
            policy_states=tuple(policy.init() for policy in self.competitors),
        )
        return state, self._learners(observation)

    def restart(self, state: ScenarioState, shock: ScenarioShock) -> tuple[ScenarioState, Any]:
        """Return the state at the start of a next episode, in which the competitors keep their policy states."""
        fresh, observation = self.reset(shock)
        return eqx.tree_at(
            lambda s: s.policy_states, fresh, state.policy_states, is_leaf=_is_none
        ), observation

    def step(self, state: ScenarioState, action: Any, shock: ScenarioShock) -> tuple[ScenarioState, Step]:
        """Advance by one step, with the learners' action; the competitors act by their policies."""
        actions, policy_states = [action], []
        if self.learners > 1:
            actions = [seat(action, i) for i in range(self.learners)]
        for i, policy in enumerate(self.competitors):
            observation = seat(state.observation, self.learners + i)
            other, policy_state = policy.act(shock.seats[i], state.policy_states[i], observation)
            actions.append(other)
            policy_states.append(policy_state)
        # A scalar is broadcast where another maker's field is a vector, such as one epsilon for all tiers.
        joint = jax.tree.map(lambda *leaves: jnp.stack(jnp.broadcast_arrays(*leaves)), *actions)
        market, transition = self.market.step(state.market, joint, shock.market)
        pay = jax.vmap(self.reward, in_axes=(0, None, 0))
        reward, reward_state = pay(state.reward, transition, jnp.arange(self.learners))
        time = state.time + 1
        after = ScenarioState(market, transition.observation, time, reward_state, tuple(policy_states))
        step = Step(
            observed=state.observation,
            observation=self._learners(transition.observation),
            reward=reward[0] if self.learners == 1 else reward,
            terminated=transition.terminated,
            truncated=(time >= self.horizon) & ~transition.terminated,
            action=joint,
            transition=transition,
            place=None if self.market.history is None else self.market.place(state.market),
        )
        return after, step

    def _learners(self, observation: Any) -> Any:
        """Observations of the learners, out of all makers'."""
        if self.learners == 1:
            return seat(observation, 0)
        return jax.tree.map(lambda leaf: leaf[: self.learners], observation)


def check_horizon(horizon: int) -> None:
    """Raise ValueError if the horizon is out of range."""
    check("horizon", horizon, "from 1 to 1000000", 1 <= horizon <= 1_000_000)


def seat(tree: Any, index: int) -> Any:
    """Return one maker's entry of a tree whose leaves have a leading axis of makers."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_none(leaf: Any) -> bool:
    return leaf is None
