"""The electronic market as a finite Markov decision process, built from its own step.

The next state depends on p* and the quotes through their differences alone, so (p* - bid, spread, imbalance) is a
Markov chain. The market's step is evaluated in every state, for every action and event. The chain is truncated at
some ticks of mispricing and some units of imbalance; values over a day come with a bound on the error of the
truncation.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.core.mdp import Chain, DecisionProcess, Outside
from twosided.core.numeric import as_arrays
from twosided.core.optimum import NotExact
from twosided.core.reward import Reward
from twosided.core.spaces import Cells
from twosided.core.validation import check
from twosided.electronic.market import (
    ElectronicMarket,
    ElectronicObservation,
    ElectronicState,
    TwoSidedElectronicMarket,
)
from twosided.learn.tables import FinitePolicy
from twosided.rewards import SpreadPnL

HELD = (0.0, 1000.0)
"""Two inventories to compare: a policy or reward that differs between them depends on more than the chain's state."""


@dataclass(frozen=True)
class ElectronicChain:
    """The market as a finite Markov decision process, for days of a given length."""

    process: DecisionProcess
    """Transitions and rewards."""
    observations: ElectronicObservation
    """Observation of the maker in each state, leaves with an axis of states."""
    horizon: int
    """T, steps in a day."""
    probabilities: Float[ndarray, "events"]
    """Probability of each event."""
    price_moves: Float[ndarray, "events"]
    """Change of p* in each event, in ticks."""
    rewards: Float[ndarray, "states actions events"]
    """Reward of each action and event in each state."""
    following: Int[ndarray, "states actions events"]
    """Next state for each action and event; -1 outside the truncation."""

    def table(self, policy: FinitePolicy) -> Float[ndarray, "states actions"]:
        """Return the policy's action probabilities in each state. Raises NotExact if they depend on more than
        the state."""
        policy = as_arrays(policy)
        several = [_probabilities(policy, _holding(self.observations, held)) for held in HELD]
        table, other = (np.asarray(table, float) for table in several)
        if not np.array_equal(table, other):
            raise NotExact(f"the action of {type(policy).__name__} depends on the inventory")
        # Sums of float32 probabilities are not exactly 1.
        return table / table.sum(1, keepdims=True)

    def follow(self, policy: FinitePolicy) -> Chain:
        """Return the Markov chain under a policy. Raises NotExact."""
        return self.process.follow(self.table(policy))

    def cells(self, cells: Cells) -> Int[ndarray, "states"]:
        """Return the cell of each state. Raises NotExact if it depends on more than the state."""
        cell, other = (np.asarray(jax.vmap(cells)(_holding(self.observations, held))) for held in HELD)
        if not np.array_equal(cell, other):
            raise NotExact(f"the cell of {type(cells).__name__} depends on the inventory")
        return cell


def electronic_chain(
    market: ElectronicMarket | TwoSidedElectronicMarket,
    reward: Reward = SpreadPnL(),
    horizon: int = 150,
    mispricing_limit: int = 60,
    imbalance_limit: int = 10,
) -> ElectronicChain:
    """Return the chain of a market and a reward, truncated at the limits.

    `mispricing_limit` is in ticks, `imbalance_limit` in units. Raises NotExact for a reward that has a state or depends
    on the inventory.
    """
    check("mispricing_limit", mispricing_limit, "at least 1", mispricing_limit >= 1)
    check("imbalance_limit", imbalance_limit, "at least 1", imbalance_limit >= 1)
    if reward.init() is not None:
        raise NotExact(f"{type(reward).__name__} has a state, so it is not a function of the step alone")
    market = as_arrays(market)
    min_spread, widths = 0.0, 1
    if isinstance(market, TwoSidedElectronicMarket):
        min_spread = float(market.min_spread)
        widths = 1 + int(np.floor(float(market.max_spread) - min_spread))
    shape = (2 * mispricing_limit + 1, widths, 2 * imbalance_limit + 1)
    mispricing, width, imbalance = (axis.ravel() for axis in np.indices(shape))
    # With p* at 0, p* less the middle of the tightest quotes around the bid is a whole number of ticks.
    bid = mispricing_limit - mispricing - min_spread / 2
    coordinates = (bid, bid + min_spread + width, imbalance - imbalance_limit)

    shocks, probabilities, moves = _events(market)
    after, paid, observations = _evaluated(market, as_arrays(reward), coordinates, shocks, HELD[0])
    if not np.array_equal(paid, _evaluated(market, as_arrays(reward), coordinates, shocks, HELD[1])[1]):
        raise NotExact(f"{type(reward).__name__} depends on the inventory")
    price, next_bid, next_ask, next_imbalance = (np.asarray(x, float) for x in after)
    places = (
        np.rint(price - next_bid - min_spread / 2).astype(int) + mispricing_limit,
        np.rint(next_ask - next_bid - min_spread).astype(int),
        np.rint(next_imbalance).astype(int) + imbalance_limit,
    )
    inside = np.logical_and.reduce([(x >= 0) & (x < size) for x, size in zip(places, shape, strict=True)])
    following = np.where(inside, np.ravel_multi_index(places, shape, mode="clip"), -1)
    rewards = np.asarray(paid, float)
    mean = rewards @ probabilities
    start = int(np.ravel_multi_index((mispricing_limit, 0, imbalance_limit), shape))
    process = DecisionProcess(
        _transitions(following, probabilities), mean, start, _outside(mean.reshape(*shape, -1), horizon)
    )
    return ElectronicChain(process, observations, horizon, probabilities, moves, rewards, following)


def _events(market: Any) -> tuple[ndarray, ndarray, ndarray]:
    """Return a shock for each event of positive probability, its probability, and its change of p*.

    The events are a rise, a fall, an uninformed purchase and sale, and an informed trader whose estimate of p* is a
    tick too low, a tick too high, or right.
    """
    change, uninformed, informed, noise = (
        float(x) for x in (market.price_change, market.uninformed, market.informed, market.noise)
    )
    wrong = informed * noise / 2
    probabilities = np.array([change, change, uninformed, uninformed, wrong, wrong, informed - 2 * wrong])
    moves = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    shocks = np.cumsum(probabilities) - probabilities / 2
    possible = probabilities > 0
    return shocks[possible], probabilities[possible] / probabilities.sum(), moves[possible]


def _evaluated(
    market: Any, reward: Reward, coordinates: Any, shocks: ndarray, held: float
) -> tuple[Any, Any, Any]:
    """Return next states and rewards of the market's own step for every state, action and event; and the
    observations."""
    bid, ask, imbalance = (np.asarray(x, np.float32)[:, None] for x in coordinates)
    return _steps(market, reward, bid, ask, imbalance, np.asarray(shocks, np.float32), np.float32(held))


@eqx.filter_jit
def _steps(market: Any, reward: Reward, bid: Any, ask: Any, imbalance: Any, shocks: Any, held: Any) -> Any:
    def state(bid: Any, ask: Any, imbalance: Any) -> ElectronicState:
        nothing = jnp.zeros_like(bid)
        return ElectronicState(jnp.zeros((), bid.dtype), bid, ask, imbalance, nothing, nothing + held)

    def one(state: ElectronicState, action: Any, shock: Any) -> Any:
        after, transition = market.step(state, jax.tree.map(lambda leaf: leaf[None], action), shock)
        paid, _ = reward(None, transition, 0)
        return (after.price, after.bid[0], after.ask[0], after.imbalance[0]), paid

    states = jax.vmap(state)(bid, ask, imbalance)
    every = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    after, paid = every(states, market.action_space.actions, shocks)
    seen = jax.vmap(market.observe)(states)
    return after, paid, jax.tree.map(lambda leaf: leaf[:, 0], seen)


@eqx.filter_jit
def _probabilities(policy: FinitePolicy, observations: ElectronicObservation) -> Any:
    return jax.vmap(policy.probabilities)(observations)


def _holding(observations: ElectronicObservation, held: float) -> ElectronicObservation:
    return eqx.tree_at(lambda o: o.inventory, observations, jnp.full_like(observations.inventory, held))


def _transitions(following: ndarray, probabilities: ndarray) -> tuple[sparse.csr_array, ...]:
    """Return P_a from the next state of each event."""
    size, actions, events = following.shape
    out = []
    for a in range(actions):
        to, inside = following[:, a].ravel(), following[:, a].ravel() >= 0
        origin, probability = np.repeat(np.arange(size), events), np.tile(probabilities, size)
        out.append(sparse.csr_array((probability[inside], (origin[inside], to[inside])), (size, size)))
    return tuple(out)


def _outside(rewards: Float[ndarray, "mispricing spread imbalance actions"], horizon: int) -> Outside:
    """Bound rewards outside the truncation: they stay linear in the mispricing, which a step changes by at most 2."""
    slopes = rewards[[1, -1]] - rewards[[0, -2]]
    outward = np.stack([-slopes[0], slopes[1]])
    far = 2 * horizon + 1
    least = rewards.min() + far * min(outward.min(), 0.0)
    most = rewards.max() + far * max(outward.max(), 0.0)
    return Outside(float(least), float(most))
