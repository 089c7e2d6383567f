"""Settings of a training run, and the scenario that they describe."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax

from twosided.core.errors import Refusal
from twosided.core.market import Market, Part
from twosided.core.names import kebab
from twosided.core.policy import Policy
from twosided.core.records import IN_SAMPLE, UNSEEN
from twosided.core.reward import Reward, TotalPnL
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, check_horizon
from twosided.core.validation import check, check_seed
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.learn.base import Learner
from twosided.learn.ppo import PPO

TRAIN = "twosided.runs.settings:TrainSettings"
"""Name under which `twosided.settings` reads TrainSettings."""


class RunError(Refusal):
    """One sentence on why a run cannot start, resume or be read."""


@dataclass(frozen=True)
class TrainSettings:
    """Train a market maker, evaluate it, and write a report."""

    market: Market = DealerMarket()
    """Market to trade in. Its number of makers follows from the competitors."""
    competitors: tuple[Policy, ...] = (PersistentQuoter(),)
    """Policy in each of the other seats. Repeat for several."""
    reward: Reward = TotalPnL()
    """Reward that the learner maximises."""
    horizon: int = 200
    """Steps per episode."""
    # In this market the trades of a step do not change what later steps can earn, and inventory has an expected
    # value of zero. A discount of 0 therefore loses nothing, and removes the noise of later steps.
    learner: Learner = PPO(gamma=0.0)
    """Learning algorithm."""
    references: tuple[Policy, ...] = ()
    """Policy to evaluate beside the trained ones. Repeat for several."""
    exact: bool = True
    """Solve for the exact optimum first, where one is known. In the hedging market this takes half a minute."""
    seeds: int = 3
    """Independent training runs, trained side by side."""
    seed: int = 0
    """Seed of all random numbers."""
    chunks: int = 20
    """Chunks that training is divided into. A checkpoint is saved after each."""
    evaluation_steps: int = 10_000_000
    """Evaluation steps per policy, on random numbers not used in training, or on recorded data held out of it."""

    def __post_init__(self):
        check_horizon(self.horizon)
        check_seed(self.seed)
        for name in ("seeds", "chunks", "evaluation_steps"):
            value = getattr(self, name)
            check(name, value, "at least 1", value >= 1)

    @property
    def scenario(self) -> Scenario:
        """Scenario of training."""
        return scenario_of(self.market, self.competitors, self.reward, self.horizon, "train")

    @property
    def test_scenario(self) -> Scenario:
        """Scenario of evaluation: that of training, but on recorded data that were held out."""
        return scenario_of(self.market, self.competitors, self.reward, self.horizon, "test")

    @property
    def data(self) -> str:
        """Data that the trained makers are evaluated on, as in records."""
        if self.market.history is None:
            return ""
        return IN_SAMPLE if self.market.part("test") is self.market else UNSEEN


def scenario_of(
    market: Market,
    competitors: tuple[Policy, ...],
    reward: Reward = TotalPnL(),
    horizon: int = 200,
    part: Part | None = None,
) -> Scenario:
    """Return the scenario with one learner beside the competitors, on a part of the market's data or on all of them.
    Raises RunError."""
    if competitors and not market.takes_competitors:
        kind = kebab(type(market).__name__)
        raise RunError(f"{kind} takes no competitors, but got {len(competitors)}")
    try:
        market = dataclasses.replace(
            market if part is None else market.part(part), num_makers=1 + len(competitors)
        )
        return Scenario(market, competitors, reward, horizon)
    except ValueError as error:
        raise RunError(str(error)) from error


def named(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Return the policies by the names of their classes: fractional hedger, fractional hedger 2."""
    found: dict[str, Policy] = {}
    for policy in policies:
        name = kebab(type(policy).__name__).replace("-", " ")
        alike = sum(type(other) is type(policy) for other in found.values())
        found[f"{name} {alike + 1}" if alike else name] = policy
    return found


MISMATCH_ERRORS = (AttributeError, IndexError, TypeError, ValueError)
"""Errors raised when a policy, learner or reward is used in a market that it was not made for."""


def check_fit(scenario: Scenario, policies: Iterable[Policy] = (), learner: Learner | None = None) -> None:
    """Trace one step of each policy and the initial state of the learner, without running either.

    Raises RunError if one of them, a competitor or the reward does not fit the market.
    """
    key, market = jax.random.key(0), type(scenario.market).__name__

    def first_reward(policy: Policy) -> Any:
        return episodes(scenario, policy, key, 1, lambda observation, state, step: step.reward)

    for policy in policies:
        try:
            eqx.filter_eval_shape(first_reward, policy)
        except MISMATCH_ERRORS as error:
            subject = f"{type(policy).__name__} cannot play in {market}"
            raise RunError(f"{subject} with these parts: {_shorten(error)}") from error
    if learner is not None:
        try:
            eqx.filter_eval_shape(learner.init, scenario, key)
        except MISMATCH_ERRORS as error:
            subject = f"{type(learner).__name__} cannot learn in {market}"
            raise RunError(f"{subject} with these parts: {_shorten(error)}") from error


def _shorten(error: Exception) -> str:
    """Return the first line of an error message."""
    line = str(error).strip().partition("\n")[0]
    if "pytree" in line:  # the actions of two makers cannot be stacked
        line = "its actions differ in structure from those of the other makers"
    return line if len(line) <= 200 else f"{line[:200]}..."
