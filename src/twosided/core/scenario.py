"""What every market is, what a learner sees of it, and the one loop over time.

    shocks(key, shape)          what chance decides, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats. A scenario puts a policy in every seat but the
learners', pays a reward and cuts episodes at a horizon. `rollout` scans a scenario over time for many paths;
it is the only loop over time in the project.
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
    """Everything that a path carries from step to step, the makers' memories included."""

    market: Any
    observation: Any
    time: Int[Array, ""]
    reward: Any
    memories: tuple[Any, ...]


class ScenarioShock(eqx.Module):
    """The chance of the market and that of the policies in its seats."""

    market: Any
    seats: tuple[Any, ...]


class Step(eqx.Module):
    """A step as the learner in a scenario lives it; with several learners, leaves have a leading axis of them."""

    observed: Any
    """What every maker saw before it acted, leaves with a leading axis of makers."""
    observation: Any
    """The learner's observation after the step, before any new start: what a bootstrap needs."""
    reward: Float[Array, "*learners"]
    terminated: Bool[Array, ""]
    """The market ended; the value of what follows is 0."""
    truncated: Bool[Array, ""]
    """The horizon cut the episode; the value of what follows is the observation's."""
    action: Any
    """What every maker did, leaves with a leading axis of makers."""
    transition: Transition


class Scenario(eqx.Module):
    """A market, who sits in its seats, a reward and a horizon: the decision process that a learner sees.

    With one learner, what it sees, does and is paid is a maker's. With several, the first seats are theirs and all
    three have a leading axis of learners: a Markov game.
    """

    market: Market
    competitors: tuple[Policy, ...]
    """The policies in the seats after the learners'."""
    reward: Reward = TotalPnL()
    """What each learner is paid."""
    horizon: int = eqx.field(static=True, default=200)
    """Steps in an episode; its end is a truncation, not a termination."""
    learners: int = eqx.field(static=True, default=1)
    """How many seats learn, from seat 0 on."""

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
        return self.market.action_space

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> ScenarioShock:
        """The chance of every part, with the given leading axes."""
        keys = jax.random.split(key, 1 + len(self.competitors))
        seats = tuple(policy.shocks(k, shape) for policy, k in zip(self.competitors, keys[1:], strict=True))
        return ScenarioShock(market=self.market.shocks(keys[0], shape), seats=seats)

    def reset(self, shock: ScenarioShock) -> tuple[ScenarioState, Any]:
        """The state of a first episode and the learner's observation."""
        market, observation = self.market.reset(shock.market)
        state = ScenarioState(
            market=market,
            observation=observation,
            time=jnp.zeros((), jnp.int32),
            reward=jax.tree.map(lambda leaf: jnp.stack([leaf] * self.learners), self.reward.init()),
            memories=tuple(policy.init() for policy in self.competitors),
        )
        return state, self._learners(observation)

    def restart(self, state: ScenarioState, shock: ScenarioShock) -> tuple[ScenarioState, Any]:
        """A new episode: the market and the reward start anew, the makers keep their memories."""
        fresh, observation = self.reset(shock)
        return eqx.tree_at(lambda s: s.memories, fresh, state.memories, is_leaf=_is_none), observation

    def step(self, state: ScenarioState, action: Any, shock: ScenarioShock) -> tuple[ScenarioState, Step]:
        """The learners' actions and the competitors' own, one step on."""
        actions, memories = [action], []
        if self.learners > 1:
            actions = [seat(action, i) for i in range(self.learners)]
        for i, policy in enumerate(self.competitors):
            observation = seat(state.observation, self.learners + i)
            other, memory = policy.act(shock.seats[i], state.memories[i], observation)
            actions.append(other)
            memories.append(memory)
        # A maker that gives one number where others give several means it for each of them.
        joint = jax.tree.map(lambda *leaves: jnp.stack(jnp.broadcast_arrays(*leaves)), *actions)
        market, transition = self.market.step(state.market, joint, shock.market)
        pay = jax.vmap(self.reward, in_axes=(0, None, 0))
        reward, reward_memory = pay(state.reward, transition, jnp.arange(self.learners))
        time = state.time + 1
        after = ScenarioState(market, transition.observation, time, reward_memory, tuple(memories))
        step = Step(
            observed=state.observation,
            observation=self._learners(transition.observation),
            reward=reward[0] if self.learners == 1 else reward,
            terminated=transition.terminated,
            truncated=(time >= self.horizon) & ~transition.terminated,
            action=joint,
            transition=transition,
        )
        return after, step

    def _learners(self, observation: Any) -> Any:
        """What the learners see of what everybody sees."""
        if self.learners == 1:
            return seat(observation, 0)
        return jax.tree.map(lambda leaf: leaf[: self.learners], observation)


def check_horizon(horizon: int) -> None:
    """Raises ValueError for what is no length of an episode."""
    check("horizon", horizon, "from 1 to 1000000", 1 <= horizon <= 1_000_000)


def seat(tree: Any, index: int) -> Any:
    """One maker's part of a tree whose leaves have a leading axis of makers."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_none(leaf: Any) -> bool:
    return leaf is None
