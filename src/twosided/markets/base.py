"""What every market is, what a learner sees of it, and the one loop over time.

    shocks(key, shape)          what chance decides, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats. A scenario puts a policy in every seat but the
learners', pays a reward and cuts episodes at a horizon. `rollout` scans a scenario over time for many paths;
it is the only loop over time in the project.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from twosided.rewards import Reward, TotalPnL
from twosided.types import Box, Discrete, Policy, Transition, check


class Market(eqx.Module):
    """The rules of trade that join a price, an order flow and the makers' quotes."""

    num_makers: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def action_space(self) -> Box | Discrete:
        """What one maker can do."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """What chance decides and no maker can, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> tuple[Any, Any]:
        """The state and the observation at the start of an episode.

        Whatever of the shock decides the start is also what the step with the same shock leaves behind it, so
        an episode that ends in a step is followed by one that starts from that step's shock.
        """

    @abc.abstractmethod
    def step(self, state: Any, action: Any, shock: Any) -> tuple[Any, Transition]:
        """One step of all makers; leaves of the action have a leading axis of makers."""


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


class Carry(eqx.Module):
    """Where a rollout stands: what the next one goes on from."""

    state: ScenarioState
    observation: Any
    memory: Any
    """The learner's policy's own memory."""


def start(scenario: Scenario, policy: Policy, key: PRNGKeyArray, paths: int) -> Carry:
    """First episodes on a number of paths."""
    return _start(scenario, policy, scenario.shocks(key, (paths,)))


def rollout(
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    key: PRNGKeyArray,
    steps: int,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda memory, step: memory,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """Run a policy in the learner's seat for a number of steps, new episodes included.

    `record(observation, memory, step)` says what to keep of a step of one path, given the observation that was
    acted on and the policy's memory of it; it comes back with leading axes (time, paths). Chance depends on
    the key and on nothing that a policy does, so policies with the same key meet the same arrivals, prices and
    books. `learn(memory, step)` is what a policy that learns as it goes remembers after a step.
    `unroll` steps are compiled as one: on few paths the loop itself is what takes time.
    """
    paths = carry.state.time.shape[0]
    key_scenario, key_policy = jax.random.split(key)
    shocks = scenario.shocks(key_scenario, (steps, paths))
    return _scan(
        scenario, policy, carry, shocks, policy.shocks(key_policy, (steps, paths)), record, learn, unroll
    )


def episodes(
    scenario: Scenario,
    policy: Policy,
    key: PRNGKeyArray,
    paths: int,
    record: Callable[[Any, Any, Step], Any],
) -> Any:
    """One episode on each of a number of paths, from its start to the horizon; what `record` keeps, as in `rollout`.

    Where the market itself ends an episode, what is kept of the steps from there to the horizon is 0 (false).
    Where a maker remembers what it lived through, an episode of which nothing is kept comes first: makers are
    judged as they are once they have settled. The start and all steps are drawn in one call, which also compiles in
    half the time of two.
    """
    key_scenario, key_policy = jax.random.split(key)
    unseen = scenario.horizon if _remembers(scenario, policy) else 0
    shocks = scenario.shocks(key_scenario, (1 + unseen + scenario.horizon, paths))
    lots = policy.shocks(key_policy, (unseen + scenario.horizon, paths))
    carry = _start(scenario, policy, jax.tree.map(lambda leaf: leaf[0], shocks))

    def live(carry: Carry, begin: int, end: int, record: Callable) -> tuple[Carry, Any]:
        now = jax.tree.map(lambda leaf: leaf[1 + begin : 1 + end], shocks)
        return _scan(scenario, policy, carry, now, jax.tree.map(lambda leaf: leaf[begin:end], lots), record)

    if unseen:
        carry, _ = live(carry, 0, unseen, lambda observation, memory, step: None)
        # Where the market ended the unseen episode the next one is under way: all begin together.
        now = jax.tree.map(lambda leaf: leaf[unseen], shocks)
        carry = Carry(*jax.vmap(scenario.restart)(carry.state, now), carry.memory)

    def record_end(observation: Any, memory: Any, step: Step) -> tuple[Any, Any]:
        return record(observation, memory, step), step.terminated

    kept, ends = live(carry, unseen, unseen + scenario.horizon, record_end)[1]
    lived = jnp.cumsum(ends, axis=0, dtype=jnp.int32) - ends == 0

    def while_it_lived(leaf: Array) -> Array:
        return jnp.where(lived.reshape(*lived.shape, *[1] * (leaf.ndim - 2)), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(while_it_lived, kept)


def _remembers(scenario: Scenario, policy: Policy) -> bool:
    """Whether any maker has a memory."""
    makers = (policy, *scenario.competitors)
    return bool(jax.tree.leaves(jax.eval_shape(lambda: [maker.init() for maker in makers])))


def _start(scenario: Scenario, policy: Policy, shocks: ScenarioShock) -> Carry:
    def one(shock: ScenarioShock) -> Carry:
        return Carry(*scenario.reset(shock), policy.init())

    return jax.vmap(one)(shocks)


def _scan(
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    shocks: ScenarioShock,
    lots: Any,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda memory, step: memory,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """The loop over time: for one path, mapped over paths, scanned over steps."""

    def one(carry: Carry, shock: ScenarioShock, lot: Any) -> tuple[Carry, Any]:
        acted, memory = policy.act(lot, carry.memory, carry.observation)
        state, step = scenario.step(carry.state, acted, shock)
        kept = record(carry.observation, memory, step)
        done = step.terminated | step.truncated
        following = (state, step.observation)
        restarted = scenario.restart(state, shock)
        state, observation = jax.tree.map(lambda a, b: jnp.where(done, a, b), restarted, following)
        return Carry(state, observation, learn(memory, step)), kept

    return jax.lax.scan(lambda carry, x: jax.vmap(one)(carry, *x), carry, (shocks, lots), unroll=unroll)


def seat(tree: Any, index: int) -> Any:
    """One maker's part of a tree whose leaves have a leading axis of makers."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_none(leaf: Any) -> bool:
    return leaf is None
