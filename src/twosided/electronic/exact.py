"""Exact answers for the electronic market: the value of any policy, the optimum, and the value of information.

They use the Markov chain of `electronic_chain`; values over a day come with a bound on the error of its truncation.
A maker that observes the cell s of a state x does not observe the state. With μ_t the distribution of the state at
step t of a day under the policy, and all steps and days pooled,

    v(s)    = E[G_t | s_t = s]             = Σ_t Σ_{x in s} μ_t(x) v_t(x) / Σ_t Σ_{x in s} μ_t(x)
    Q(s, a) = E[G_t | s_t = s, a_t = a]    likewise, weighted by π(a | x)

are what averages of sampled returns estimate. Learners that bootstrap converge to another table if γ > 0, the
solution of Q(s, a) = E[r_t + γ Q(s_{t+1}, a_{t+1}) | s_t = s, a_t = a] under the same distributions; with γ = 0 the
two agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float
from numpy import ndarray

from twosided.core.mdp import Exact
from twosided.core.optimum import NotExact
from twosided.core.spaces import Cells
from twosided.core.validation import check
from twosided.electronic.chain import ElectronicChain, electronic_chain
from twosided.electronic.market import CHANGES, ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.learn.tables import FinitePolicy


def day_value(chain: ElectronicChain, policy: FinitePolicy) -> Exact:
    """Return the mean reward per step of a policy over a day."""
    return chain.follow(policy).of_day(chain.horizon)


def long_run_value(chain: ElectronicChain, policy: FinitePolicy) -> float:
    """Return the long-run mean reward per step of a policy; a step that would leave the truncation stays."""
    return chain.follow(policy).long_run()[0]


def state_values(
    chain: ElectronicChain, policy: FinitePolicy, cells: Cells, discount: float = 0.0
) -> Float[ndarray, "cells"]:
    """Return v(s), pooled over the steps of a day; NaN for cells that the policy never visits."""
    followed, cell = chain.follow(policy), chain.cells(cells)
    distributions, values = (
        followed.distributions(chain.horizon),
        followed.values(chain.horizon, discount)[:-1],
    )
    return _ratio(
        _pooled((distributions * values).sum(0), cell, cells.size),
        _pooled(distributions.sum(0), cell, cells.size),
    )


def state_action_values(
    chain: ElectronicChain, policy: FinitePolicy, cells: Cells, discount: float = 0.0
) -> Float[ndarray, "cells actions"]:
    """Return Q(s, a), pooled over the steps of a day; NaN for pairs that the policy never visits."""
    table = chain.table(policy)
    followed, cell = chain.process.follow(table), chain.cells(cells)
    distributions, values = followed.distributions(chain.horizon), followed.values(chain.horizon, discount)
    earned = np.zeros_like(table)
    for distribution, following in zip(distributions, values[1:], strict=True):
        earned += distribution[:, None] * table * chain.process.action_values(following, discount)
    visits = distributions.sum(0)[:, None] * table
    return _ratio(_pooled(earned, cell, cells.size), _pooled(visits, cell, cells.size))


def bootstrapped_values(
    chain: ElectronicChain,
    policy: FinitePolicy,
    cells: Cells,
    discount: float = 0.0,
    trace_decay: float = 0.0,
) -> Float[ndarray, "cells actions"]:
    """Return the table to which SARSA(λ) and expected SARSA converge under a fixed policy; NaN for pairs never visited.

        Q(s, a) = E[Σ_k (γλ)^k (r_{t+k} + γ (1 - λ) Q(s_{t+k+1}, a_{t+k+1})) | s_t = s, a_t = a]

    The sum runs to the end of the day, where γ (1 - λ) is γ: to a learner a truncated day continues. The equation is
    linear in Q; both of its parts follow from a backward recursion in time.
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

    # For each state before the action: expected rewards, and the weight of each pair that is bootstrapped.
    earned, ahead = np.zeros(size), discount * next_pair
    rewards, weights = np.zeros((cells.size, actions)), np.zeros((cells.size, actions, pairs))
    visits = np.zeros((cells.size, actions))
    for distribution in reversed(chain.process.follow(table).distributions(chain.horizon)):
        reward = chain.process.action_values(earned)
        weight = [P @ ahead for P in chain.process.transitions]
        share = distribution[:, None] * table
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
class BestTable:
    """Best table of the imbalance, with the values of all."""

    changes: tuple[float, ...]
    """Change of the quote at each imbalance, from the lowest to the highest; the first among ties."""
    value: Exact
    """Mean reward per step over a day."""
    tables: Float[ndarray, "tables cells"]
    """All tables."""
    values: Float[ndarray, "tables"]
    """Mean reward per step over a day of each."""
    errors: Float[ndarray, "tables"]
    """Error bound of each value."""


def best_table(chain: ElectronicChain, limit: int = 2) -> BestTable:
    """Return the best of all 3^(2 limit + 1) tables of the imbalance clipped to ± limit, over a day, by enumeration.

    Raises NotExact for the market with two prices.
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
    return BestTable(tuple(changes[best]), found[best], changes, values, errors)


def full_information(chain: ElectronicChain, after_event: bool = False) -> Exact:
    """Return the optimum per step over a day of a policy that observes p* before the event of the step, or after it.

    After the event the policy knows the move of p*, and so whether there is an order, but not whose.
    """
    if not after_event:
        return chain.process.optimal_day(chain.horizon)
    inside = chain.following >= 0
    revealed = [np.flatnonzero(chain.price_moves == move) for move in np.unique(chain.price_moves)]
    bounds = []
    for outside in (chain.process.outside.least, chain.process.outside.most):
        value = np.zeros(chain.process.size)
        for left in range(chain.horizon):
            ahead = chain.rewards + np.where(inside, value[chain.following], left * outside)
            value = np.sum([(ahead[..., k] @ chain.probabilities[k]).max(1) for k in revealed], axis=0)
        bounds.append(float(value[chain.process.start]) / chain.horizon)
    return Exact.between(*bounds)


def information_value(chain: ElectronicChain, best: BestTable) -> Exact:
    """Return what observing p* before each event adds to the best table of the clipped imbalance, per step over
    a day."""
    informed, uninformed = full_information(chain), best.value
    return Exact(informed.value - uninformed.value, informed.error + uninformed.error)


def threshold_map(
    uninformed: Sequence[float],
    informed: Sequence[float],
    thresholds: Sequence[int] = (1, 2, 3),
    market: ElectronicMarket = ElectronicMarket(),
    horizon: int = 150,
) -> Float[ndarray, "uninformed informed thresholds"]:
    """Return the mean reward per step over a day of each threshold, over λ_u and λ_i; NaN where λ_p would be negative.

    The best threshold at a point maximises over the last axis.
    """
    values = np.full((len(uninformed), len(informed), len(thresholds)), np.nan)
    for (i, uninformed_), (j, informed_) in product(enumerate(uninformed), enumerate(informed)):
        change = (1 - 2 * uninformed_ - informed_) / 2
        if change >= -1e-12:
            here = replace(market, price_change=max(change, 0.0), uninformed=uninformed_, informed=informed_)
            chain = electronic_chain(here, horizon=horizon, imbalance_limit=max(thresholds))
            values[i, j] = [day_value(chain, ThresholdPolicy(threshold)).value for threshold in thresholds]
    return values


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
