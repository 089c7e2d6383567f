"""Exact answers for the electronic market: what any policy earns, the best there is, and what information is worth.

What happens next depends on p* and the quotes through their differences alone, so (p* - bid, spread, imbalance) is a
Markov chain. It is built from the market's own step, tried on every state, action and event, and cut off some ticks
of mispricing and some units of imbalance away; answers over a day come with a bound on what this changes.

A maker that sees cells s of the state x does not see the state. With μ_t the law of the state at step t of a day under
its policy, and all steps and days pooled,

    v(s)    = E[G_t | s_t = s]             = Σ_t Σ_{x in s} μ_t(x) v_t(x) / Σ_t Σ_{x in s} μ_t(x)
    Q(s, a) = E[G_t | s_t = s, a_t = a]    likewise, weighed with π(a | x)

are what averages of sampled returns estimate. Learners that bootstrap find another table if γ > 0, the solution of
Q(s, a) = E[r_t + γ Q(s_{t+1}, a_{t+1}) | s_t = s, a_t = a] under the same laws; with γ = 0 the two are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.exact.chains import Chain, DecisionProcess, Exact, Outside
from twosided.exact.order_flow import NotExact
from twosided.markets.electronic import (
    CHANGES,
    ElectronicMarket,
    ElectronicObservation,
    ElectronicState,
    TwoSidedElectronicMarket,
)
from twosided.policies.tabular import Cells, FinitePolicy, Threshold
from twosided.rewards import Reward, SpreadPnL
from twosided.types import as_arrays, check

HELD = (0.0, 1000.0)
"""Two inventories: where they make a difference, the chain does not say all."""


@dataclass(frozen=True)
class ElectronicChain:
    """The market as a finite decision process, for days of a given length."""

    process: DecisionProcess
    observations: ElectronicObservation
    """What the maker sees in each state, leaves with an axis of states."""
    horizon: int
    """T, steps in a day."""
    chances: Float[ndarray, "events"]
    """Probability of each event."""
    price_moves: Float[ndarray, "events"]
    """What each event does to p*, in ticks."""
    rewards: Float[ndarray, "states actions events"]
    following: Int[ndarray, "states actions events"]
    """The state that each event leads to; -1 for one that is left out."""

    def table(self, policy: FinitePolicy) -> Float[ndarray, "states actions"]:
        """What a policy does in each state. Raises NotExact if it depends on more than the state."""
        policy = as_arrays(policy)
        several = [_probabilities(policy, _holding(self.observations, held)) for held in HELD]
        table, other = (np.asarray(table, float) for table in several)
        if not np.array_equal(table, other):
            raise NotExact(f"what {type(policy).__name__} does depends on the inventory")
        # float32 leaves sums that are not quite 1.
        return table / table.sum(1, keepdims=True)

    def follow(self, policy: FinitePolicy) -> Chain:
        return self.process.follow(self.table(policy))

    def cells(self, cells: Cells) -> Int[ndarray, "states"]:
        """The cell that each state is in."""
        return np.asarray(jax.vmap(cells)(self.observations))


def electronic_chain(
    market: ElectronicMarket | TwoSidedElectronicMarket,
    reward: Reward = SpreadPnL(),
    horizon: int = 150,
    mispricing_limit: int = 60,
    imbalance_limit: int = 10,
) -> ElectronicChain:
    """The chain of a market and a reward; states beyond the limits are left out.

    Raises NotExact for a reward with a memory or one that depends on the inventory.
    """
    check("mispricing_limit", mispricing_limit, "at least 1", mispricing_limit >= 1)
    check("imbalance_limit", imbalance_limit, "at least 1", imbalance_limit >= 1)
    if reward.init() is not None:
        raise NotExact(f"{type(reward).__name__} remembers, so what it pays is no function of the step")
    market = as_arrays(market)
    narrowest, widths = 0.0, 1
    if isinstance(market, TwoSidedElectronicMarket):
        narrowest = float(market.narrowest)
        widths = 1 + int(np.floor(float(market.widest) - narrowest))
    shape = (2 * mispricing_limit + 1, widths, 2 * imbalance_limit + 1)
    mispricing, width, imbalance = (axis.ravel() for axis in np.indices(shape))
    # The price is 0; p* less the middle of the narrowest quotes around the bid is a whole number of ticks.
    bid = mispricing_limit - mispricing - narrowest / 2
    coordinates = (bid, bid + narrowest + width, imbalance - imbalance_limit)

    shocks, chances, moves = _events(market)
    after, paid, seen = _tried(market, as_arrays(reward), coordinates, shocks, HELD[0])
    if not np.array_equal(paid, _tried(market, as_arrays(reward), coordinates, shocks, HELD[1])[1]):
        raise NotExact(f"what {type(reward).__name__} pays depends on the inventory")
    price, next_bid, next_ask, next_imbalance = (np.asarray(x, float) for x in after)
    places = (
        np.rint(price - next_bid - narrowest / 2).astype(int) + mispricing_limit,
        np.rint(next_ask - next_bid - narrowest).astype(int),
        np.rint(next_imbalance).astype(int) + imbalance_limit,
    )
    inside = np.logical_and.reduce([(x >= 0) & (x < size) for x, size in zip(places, shape, strict=True)])
    following = np.where(inside, np.ravel_multi_index(places, shape, mode="clip"), -1)
    rewards = np.asarray(paid, float)
    mean = rewards @ chances
    start = int(np.ravel_multi_index((mispricing_limit, 0, imbalance_limit), shape))
    process = DecisionProcess(
        _transitions(following, chances), mean, start, _outside(mean.reshape(*shape, -1), horizon)
    )
    return ElectronicChain(process, seen, horizon, chances, moves, rewards, following)


def day_value(chain: ElectronicChain, policy: FinitePolicy) -> Exact:
    """What a policy earns a step, over a day."""
    return chain.follow(policy).of_day(chain.horizon)


def long_run_value(chain: ElectronicChain, policy: FinitePolicy) -> float:
    """What a policy earns a step on a day without end, where a state that would be left out is not entered."""
    return chain.follow(policy).long_run()[0]


def state_values(
    chain: ElectronicChain, policy: FinitePolicy, cells: Cells, discount: float = 0.0
) -> Float[ndarray, "cells"]:
    """v(s), pooled over the steps of a day; NaN where the policy never comes."""
    followed, cell = chain.follow(policy), chain.cells(cells)
    laws, values = followed.laws(chain.horizon), followed.values(chain.horizon, discount)[:-1]
    return _ratio(_pooled((laws * values).sum(0), cell, cells.size), _pooled(laws.sum(0), cell, cells.size))


def state_action_values(
    chain: ElectronicChain, policy: FinitePolicy, cells: Cells, discount: float = 0.0
) -> Float[ndarray, "cells actions"]:
    """Q(s, a), pooled over the steps of a day; NaN for what the policy never does."""
    table = chain.table(policy)
    followed, cell = chain.process.follow(table), chain.cells(cells)
    laws, values = followed.laws(chain.horizon), followed.values(chain.horizon, discount)
    earned = np.zeros_like(table)
    for law, following in zip(laws, values[1:], strict=True):
        earned += law[:, None] * table * chain.process.action_values(following, discount)
    visits = laws.sum(0)[:, None] * table
    return _ratio(_pooled(earned, cell, cells.size), _pooled(visits, cell, cells.size))


def bootstrapped_values(
    chain: ElectronicChain,
    policy: FinitePolicy,
    cells: Cells,
    discount: float = 0.0,
    trace_decay: float = 0.0,
) -> Float[ndarray, "cells actions"]:
    """The table that SARSA(λ) and expected SARSA settle on if the policy stays; NaN for what it never does.

        Q(s, a) = E[Σ_k (γλ)^k (r_{t+k} + γ (1 - λ) Q(s_{t+k+1}, a_{t+k+1})) | s_t = s, a_t = a]

    with the sum up to the end of the day, where γ (1 - λ) is γ: a day that is cut goes on as far as a learner is
    concerned. It is linear in Q; both of its parts follow backward in time.
    """
    table = chain.table(policy)
    size, actions = table.shape
    cell, pairs = chain.cells(cells), cells.size * actions
    of_cell = sparse.csr_array((np.ones(size), (cell, np.arange(size))), (cells.size, size))
    rows, columns = (
        np.repeat(np.arange(size), actions),
        (cell[:, None] * actions + np.arange(actions)).ravel(),
    )
    next_pair = sparse.csr_array((table.ravel(), (rows, columns)), (size, pairs)).toarray()

    # Of what follows from a state, before it acts: the rewards, and the weight of each pair that is bootstrapped.
    earned, ahead = np.zeros(size), discount * next_pair
    rewards, weights = np.zeros((cells.size, actions)), np.zeros((cells.size, actions, pairs))
    visits = np.zeros((cells.size, actions))
    for law in reversed(chain.process.follow(table).laws(chain.horizon)):
        reward = chain.process.action_values(earned)
        weight = [P @ ahead for P in chain.process.transitions]
        share = law[:, None] * table
        visits += of_cell @ share
        rewards += of_cell @ (share * reward)
        for a in range(actions):
            weights[:, a] += of_cell @ (share[:, [a]] * weight[a])
        earned = discount * trace_decay * (table * reward).sum(1)
        ahead = discount * (1 - trace_decay) * next_pair
        ahead += discount * trace_decay * sum(table[:, [a]] * weight[a] for a in range(actions))
    done = np.flatnonzero(visits.ravel() > 0)
    count = visits.ravel()[done]
    moves = weights.reshape(pairs, pairs)[np.ix_(done, done)] / count[:, None]
    out = np.full(pairs, np.nan)
    out[done] = np.linalg.solve(np.eye(done.size) - moves, rewards.ravel()[done] / count)
    return out.reshape(cells.size, actions)


@dataclass(frozen=True)
class Best:
    """The best of many tables of the imbalance."""

    changes: tuple[float, ...]
    """Its change of quote at each imbalance, from the lowest to the highest; the first of those that tie."""
    value: Exact
    tables: Float[ndarray, "tables cells"]
    """All of them."""
    values: Float[ndarray, "tables"]
    """What each earns a step over a day."""
    errors: Float[ndarray, "tables"]


def best_table(chain: ElectronicChain, limit: int = 2) -> Best:
    """The best table of the imbalance clipped to ± limit over a day, of all 3^(2 limit + 1), by trying each.

    For the market of one price.
    """
    check("limit", limit, "from 1 to 3: there are 3^(2 limit + 1) tables", 1 <= limit <= 3)
    _one_price(chain)
    rows = np.clip(np.rint(np.asarray(chain.observations.imbalance)), -limit, limit).astype(int) + limit
    columns = np.arange(len(CHANGES))
    tables = np.array(list(product(columns, repeat=2 * limit + 1)))
    found = [
        chain.process.follow((table[rows][:, None] == columns).astype(float)).of_day(chain.horizon)
        for table in tables
    ]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    best = int(np.argmax(values))
    changes = np.asarray(CHANGES)[tables]
    return Best(tuple(changes[best]), found[best], changes, values, errors)


def full_information(chain: ElectronicChain, after_event: bool = False) -> Exact:
    """What the best policy earns a step over a day where it sees p*, before the event of the step or after it.

    After the event it knows what p* did, and so whether there is an order, but not whose.
    """
    if not after_event:
        return chain.process.best_of_day(chain.horizon)
    inside = chain.following >= 0
    known = [np.flatnonzero(chain.price_moves == move) for move in np.unique(chain.price_moves)]
    bounds = []
    for outside in (chain.process.outside.least, chain.process.outside.most):
        value = np.zeros(chain.process.size)
        for left in range(chain.horizon):
            ahead = chain.rewards + np.where(inside, value[chain.following], left * outside)
            value = np.sum([(ahead[..., k] @ chain.chances[k]).max(1) for k in known], axis=0)
        bounds.append(float(value[chain.process.start]) / chain.horizon)
    return Exact.between(*bounds)


def information_value(chain: ElectronicChain, limit: int = 2) -> Exact:
    """What seeing p* before each event adds to the best table of the clipped imbalance, a step over a day."""
    informed, blind = full_information(chain), best_table(chain, limit).value
    return Exact(informed.value - blind.value, informed.error + blind.error)


def threshold_map(
    uninformed: Sequence[float],
    informed: Sequence[float],
    thresholds: Sequence[int] = (1, 2, 3),
    market: ElectronicMarket = ElectronicMarket(),
    horizon: int = 150,
) -> Float[ndarray, "uninformed informed thresholds"]:
    """What each threshold earns a step over a day, over λ_u and λ_i; NaN where they leave no room for λ_p.

    The best threshold at a point is where the last axis is largest.
    """
    values = np.full((len(uninformed), len(informed), len(thresholds)), np.nan)
    for (i, uninformed_), (j, informed_) in product(enumerate(uninformed), enumerate(informed)):
        change = (1 - 2 * uninformed_ - informed_) / 2
        if change >= -1e-12:
            here = replace(market, price_change=max(change, 0.0), uninformed=uninformed_, informed=informed_)
            chain = electronic_chain(here, horizon=horizon, imbalance_limit=max(thresholds))
            values[i, j] = [day_value(chain, Threshold(threshold)).value for threshold in thresholds]
    return values


def _events(market: Any) -> tuple[ndarray, ndarray, ndarray]:
    """A shock for each event of positive probability, the probability, and what it does to p*.

    A rise, a fall, an uninformed purchase and sale, and an informed trader that takes p* to be too low, too high, or
    what it is.
    """
    change, uninformed, informed, noise = (
        float(x) for x in (market.price_change, market.uninformed, market.informed, market.noise)
    )
    wrong = informed * noise / 2
    chances = np.array([change, change, uninformed, uninformed, wrong, wrong, informed - 2 * wrong])
    moves = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    shocks = np.cumsum(chances) - chances / 2
    happen = chances > 0
    return shocks[happen], chances[happen] / chances.sum(), moves[happen]


def _tried(
    market: Any, reward: Reward, coordinates: Any, shocks: ndarray, held: float
) -> tuple[Any, Any, Any]:
    """The market's own step from every state, with every action and event, and what it pays; and what is seen."""
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


def _transitions(following: ndarray, chances: ndarray) -> tuple[sparse.csr_array, ...]:
    """P_a, from where each event leads."""
    size, actions, events = following.shape
    out = []
    for a in range(actions):
        to, inside = following[:, a].ravel(), following[:, a].ravel() >= 0
        origin, chance = np.repeat(np.arange(size), events), np.tile(chances, size)
        out.append(sparse.csr_array((chance[inside], (origin[inside], to[inside])), (size, size)))
    return tuple(out)


def _outside(rewards: Float[ndarray, "mispricing spread imbalance actions"], horizon: int) -> Outside:
    """Beyond the edge rewards go on as they do at it: linear in the mispricing, which a step changes by 2 at most."""
    slopes = rewards[[1, -1]] - rewards[[0, -2]]
    outward = np.stack([-slopes[0], slopes[1]])
    far = 2 * horizon + 1
    least = rewards.min() + far * min(outward.min(), 0.0)
    most = rewards.max() + far * max(outward.max(), 0.0)
    return Outside(float(least), float(most))


def _one_price(chain: ElectronicChain) -> None:
    if chain.observations.spread is not None:
        raise NotExact("tables of the imbalance are for the market of one price")


def _pooled(values: Float[ndarray, "states *k"], cell: ndarray, cells: int) -> Float[ndarray, "cells *k"]:
    """Sums over the states of each cell."""
    out = np.zeros((cells, *values.shape[1:]))
    np.add.at(out, cell, values)
    return out


def _ratio(over: ndarray, under: ndarray) -> ndarray:
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
