"""Finite Markov decision processes: exact values of policies over a day and in the long run, and the optimum.

A process has n states and A actions. From state x, action a has expected reward r(x, a) and leads to y with probability
P_a(x, y). Under a policy, a table π(a | x), the process is a Markov chain,

    P(x, y) = Σ_a π(a | x) P_a(x, y),      r(x) = Σ_a π(a | x) r(x, a).

Over a day of T steps from a start state, the distribution μ_t of the state at step t and the expected return v_t from
step t on are

    μ_t = μ_{t-1} P,      v_t = r + γ P v_{t+1},      v_T = 0.

The states may be a truncation of a larger process. A row of P then sums to less than 1; the remainder is the
probability of leaving the truncation. Bounds on the reward of a step outside give a lower and an upper bound on every
value over a day. For long-run averages, a transition out of the truncation is replaced by staying in the same state.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import spsolve


@dataclass(frozen=True)
class Exact:
    """Value that is exact up to a truncation."""

    value: float
    """Centre of the bounds."""
    error: float
    """Error bound: half the distance between the bounds."""

    @classmethod
    def between(cls, low: float, high: float) -> "Exact":
        """Return the centre of two bounds, with their half-distance."""
        return cls((low + high) / 2, (high - low) / 2)


@dataclass(frozen=True)
class Outside:
    """Bounds on the reward of states outside the truncation."""

    least: float
    """Smallest expected reward of a step outside."""
    most: float
    """Largest expected reward of a step outside."""


@dataclass(frozen=True)
class Chain:
    """Markov chain with rewards."""

    moves: sparse.csr_array
    """P, transition probabilities."""
    rewards: Float[ndarray, "states"]
    """r, expected reward of a step from each state."""
    leaves: Float[ndarray, "states"]
    """Probability of leaving, 1 less the sum of the row of P."""
    start: int
    """Index of the first state of a day."""
    outside: Outside

    def distributions(self, horizon: int) -> Float[ndarray, "horizon states"]:
        """Return μ_0, ..., μ_{T-1}."""
        onward = sparse.csr_array(self.moves.T)
        distributions = np.zeros((horizon, self.rewards.size))
        distributions[0, self.start] = 1.0
        for t in range(1, horizon):
            distributions[t] = onward @ distributions[t - 1]
        return distributions

    def values(self, horizon: int, discount: float = 1.0) -> Float[ndarray, "horizon_and_1 states"]:
        """Return v_0, ..., v_T, with a reward of 0 outside."""
        values = np.zeros((horizon + 1, self.rewards.size))
        for t in reversed(range(horizon)):
            values[t] = self.rewards + discount * (self.moves @ values[t + 1])
        return values

    def of_day(self, horizon: int) -> Exact:
        """Return the mean reward per step over a day."""
        distributions = self.distributions(horizon)
        within = float(distributions.sum(0) @ self.rewards) / horizon
        # A chain that leaves at step t spends T - 1 - t steps outside.
        steps_outside = float((distributions @ self.leaves) @ np.arange(horizon - 1, -1, -1)) / horizon
        return Exact.between(
            within + steps_outside * self.outside.least, within + steps_outside * self.outside.most
        )

    def long_run(self) -> tuple[float, Float[ndarray, "states"]]:
        """Return the long-run mean reward per step from the start, and the limit μ = μ P of the mean distribution.

        If the chain from the start can end in several closed classes, μ is their mean, weighted by their probabilities.
        """
        moves = sparse.csr_array(self.moves + sparse.diags_array(self.leaves))
        reached = np.sort(breadth_first_order(moves, self.start, return_predecessors=False))
        links = moves[reached][:, reached]
        count, label = connected_components(links, directed=True, connection="strong")
        stationary = np.zeros(self.rewards.size)
        if count == 1:
            stationary[reached] = _stationary(moves, reached, self.start)
            return float(stationary @ self.rewards), stationary
        origin, to = links.nonzero()
        is_open = np.zeros(count, bool)
        is_open[label[origin[label[origin] != label[to]]]] = True
        transient, closed = reached[is_open[label]], np.flatnonzero(~is_open)
        probability = np.ones(1)
        if transient.size:
            # Probability of ending in each class: expected visits of the transient states from the start.
            inner = sparse.csc_array((sparse.eye_array(transient.size) - moves[transient][:, transient]).T)
            visits = np.atleast_1d(np.asarray(spsolve(inner, (transient == self.start).astype(float))))
            classes = [reached[label == each] for each in closed]
            probability = np.array([visits @ moves[transient][:, members].sum(1) for members in classes])
            probability /= probability.sum()
        for each, weight in zip(closed, probability, strict=True):
            members = reached[label == each]
            stationary[members] = weight * _stationary(moves, members, int(members[0]))
        return float(stationary @ self.rewards), stationary


def _stationary(moves: sparse.csr_array, members: ndarray, origin: int) -> Float[ndarray, "members"]:
    """Return the stationary distribution of a closed class of states, by visits between two visits to one of them."""
    # μ' is the expected number of visits between two visits to the origin: μ' = μ' P' + P(origin, ·), with P' the
    # transitions between the other states. Scaled to sum to 1, it is the stationary distribution.
    out = np.ones(members.size)
    others = members[members != origin]
    inner = sparse.csc_array((sparse.eye_array(others.size) - moves[others][:, others]).T)
    if others.size:
        out[members != origin] = np.asarray(spsolve(inner, moves[[origin]][:, others].toarray()[0]))
    return out / out.sum()


@dataclass(frozen=True)
class DecisionProcess:
    """Finite Markov decision process: transitions and rewards of each action."""

    transitions: tuple[sparse.csr_array, ...]
    """P_a for each action, states by states."""
    rewards: Float[ndarray, "states actions"]
    """r(x, a), expected rewards."""
    start: int
    """Index of the first state of a day."""
    outside: Outside = Outside(0.0, 0.0)

    @property
    def size(self) -> int:
        """Number of states."""
        return self.rewards.shape[0]

    @property
    def leaves(self) -> Float[ndarray, "states actions"]:
        """Probability that each action leaves the truncation."""
        return 1 - np.stack([P.sum(1) for P in self.transitions], axis=1)

    def follow(self, policy: Float[ndarray, "states actions"]) -> Chain:
        """Return the Markov chain under a policy."""
        terms = [sparse.diags_array(policy[:, a]) @ P for a, P in enumerate(self.transitions)]
        moves = sparse.csr_array(sum(terms[1:], start=terms[0]))
        leaves = np.maximum(1 - moves.sum(1), 0.0)
        return Chain(moves, (policy * self.rewards).sum(1), leaves, self.start, self.outside)

    def action_values(
        self, following: Float[ndarray, "states"], discount: float = 1.0
    ) -> Float[ndarray, "states actions"]:
        """Return r(x, a) + γ Σ_y P_a(x, y) v(y)."""
        ahead = np.stack([P @ following for P in self.transitions], axis=1)
        return self.rewards + discount * ahead

    def optimal_day(self, horizon: int) -> Exact:
        """Return the optimum per step over a day of a policy that observes the state: v_t = max_a r_a + P_a v_{t+1}."""
        leaves, bounds = self.leaves, []
        for outside in (self.outside.least, self.outside.most):
            value = np.zeros(self.size)
            for left in range(horizon):
                value = (self.action_values(value) + leaves * left * outside).max(1)
            bounds.append(float(value[self.start]) / horizon)
        return Exact.between(*bounds)

    def optimal_long_run(self, tolerance: float = 1e-9, sweeps: int = 100_000) -> Exact:
        """Return the long-run optimum per step of a policy that observes the state, by relative value iteration.

        The extremes of v' - v bound the optimum at every sweep (Puterman 1994, theorem 8.5.5). Raises ArithmeticError
        if they are still more than twice the tolerance apart after all sweeps.
        """
        leaves, value, change = self.leaves, np.zeros(self.size), np.zeros(self.size)
        for _ in range(sweeps):
            improved = (self.action_values(value) + leaves * value[:, None]).max(1)
            change = improved - value
            if np.ptp(change) <= 2 * tolerance:
                return Exact.between(float(change.min()), float(change.max()))
            value = improved - improved[self.start]
        raise ArithmeticError(f"the bounds are still {np.ptp(change):g} apart after {sweeps} sweeps")
