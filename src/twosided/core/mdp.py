"""Finite Markov decision processes: what a policy earns over a day and in the long run, and the best there is.

A process has n states and A actions; from state x, action a earns r(x, a) on average and leads to y with probability
P_a(x, y). A policy is a table π(a | x); what it makes of the process is a Markov chain,

    P(x, y) = Σ_a π(a | x) P_a(x, y),      r(x) = Σ_a π(a | x) r(x, a).

Over a day of T steps from a start, μ_t = μ_{t-1} P is the law of the state at step t, and v_t = r + γ P v_{t+1} with
v_T = 0 the mean of the return from there. The states may be the part of a larger process in which nearly all happens:
then rows of P sum to less than 1, the rest leaves, and what a step can earn out there, at least and at most, gives
every answer over a day an upper and a lower bound. In the long run what would leave stays where it is.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import spsolve


@dataclass(frozen=True)
class Exact:
    """A number that is exact but for what is cut off."""

    value: float
    error: float
    """The number is within this of the value."""

    @classmethod
    def between(cls, low: float, high: float) -> "Exact":
        return cls((low + high) / 2, (high - low) / 2)


@dataclass(frozen=True)
class Outside:
    """What is known of the states that are left out."""

    least: float
    """The least that a step there earns on average."""
    most: float
    """The most that it earns."""


@dataclass(frozen=True)
class Chain:
    """A Markov chain that earns something."""

    moves: sparse.csr_array
    """P."""
    rewards: Float[ndarray, "states"]
    """r."""
    leaves: Float[ndarray, "states"]
    """Probability of leaving, 1 less the sum of the row of P."""
    start: int
    outside: Outside

    def laws(self, horizon: int) -> Float[ndarray, "horizon states"]:
        """μ_0, ..., μ_{T-1}."""
        onward = sparse.csr_array(self.moves.T)
        laws = np.zeros((horizon, self.rewards.size))
        laws[0, self.start] = 1.0
        for t in range(1, horizon):
            laws[t] = onward @ laws[t - 1]
        return laws

    def values(self, horizon: int, discount: float = 1.0) -> Float[ndarray, "horizon_and_1 states"]:
        """v_0, ..., v_T, where what leaves earns nothing more."""
        values = np.zeros((horizon + 1, self.rewards.size))
        for t in reversed(range(horizon)):
            values[t] = self.rewards + discount * (self.moves @ values[t + 1])
        return values

    def of_day(self, horizon: int) -> Exact:
        """What it earns a step over a day."""
        laws = self.laws(horizon)
        within = float(laws.sum(0) @ self.rewards) / horizon
        # Leaving at step t, it is out there for T - 1 - t steps.
        steps_outside = float((laws @ self.leaves) @ np.arange(horizon - 1, -1, -1)) / horizon
        return Exact.between(
            within + steps_outside * self.outside.least, within + steps_outside * self.outside.most
        )

    def long_run(self) -> tuple[float, Float[ndarray, "states"]]:
        """What it earns a step in the long run, and the law that stays the same, μ = μ P, reached from the start."""
        moves = self.moves + sparse.diags_array(self.leaves)
        reached = np.sort(breadth_first_order(moves, self.start, return_predecessors=False))
        # Time spent between visits to the start, μ' = μ' P' + P(start, .) with P' without the start; then scaled.
        others = reached[reached != self.start]
        inner = sparse.csc_array((sparse.eye_array(reached.size - 1) - moves[others][:, others]).T)
        law = np.zeros(self.rewards.size)
        law[self.start] = 1.0
        if others.size:
            law[others] = np.asarray(spsolve(inner, moves[[self.start]][:, others].toarray()[0]))
        law /= law.sum()
        return float(law @ self.rewards), law


@dataclass(frozen=True)
class DecisionProcess:
    """Where each action leads, and what it earns."""

    transitions: tuple[sparse.csr_array, ...]
    """P_a, states by states, an action each."""
    rewards: Float[ndarray, "states actions"]
    """r(x, a)."""
    start: int
    """The state in which a day starts."""
    outside: Outside = Outside(0.0, 0.0)

    @property
    def size(self) -> int:
        return self.rewards.shape[0]

    @property
    def leaves(self) -> Float[ndarray, "states actions"]:
        """Probability of leaving."""
        return 1 - np.stack([P.sum(1) for P in self.transitions], axis=1)

    def follow(self, policy: Float[ndarray, "states actions"]) -> Chain:
        """What a policy makes of it."""
        terms = [sparse.diags_array(policy[:, a]) @ P for a, P in enumerate(self.transitions)]
        moves = sparse.csr_array(sum(terms[1:], start=terms[0]))
        leaves = np.maximum(1 - moves.sum(1), 0.0)
        return Chain(moves, (policy * self.rewards).sum(1), leaves, self.start, self.outside)

    def action_values(
        self, following: Float[ndarray, "states"], discount: float = 1.0
    ) -> Float[ndarray, "states actions"]:
        """r(x, a) + γ Σ_y P_a(x, y) v(y)."""
        ahead = np.stack([P @ following for P in self.transitions], axis=1)
        return self.rewards + discount * ahead

    def best_of_day(self, horizon: int) -> Exact:
        """What the best policy that sees the state earns a step over a day: v_t = max_a r_a + P_a v_{t+1}."""
        leaves, bounds = self.leaves, []
        for outside in (self.outside.least, self.outside.most):
            value = np.zeros(self.size)
            for left in range(horizon):
                value = (self.action_values(value) + leaves * left * outside).max(1)
            bounds.append(float(value[self.start]) / horizon)
        return Exact.between(*bounds)

    def best_long_run(self, tolerance: float = 1e-9, sweeps: int = 100_000) -> Exact:
        """What the best policy that sees the state earns a step in the long run, by relative value iteration.

        v' - v lies between the bounds at every sweep (Puterman 1994, theorem 8.5.5). Raises ArithmeticError if they do
        not come within twice the tolerance.
        """
        leaves, value = self.leaves, np.zeros(self.size)
        for _ in range(sweeps):
            improved = (self.action_values(value) + leaves * value[:, None]).max(1)
            change = improved - value
            if np.ptp(change) <= 2 * tolerance:
                return Exact.between(float(change.min()), float(change.max()))
            value = improved - improved[self.start]
        raise ArithmeticError(f"the bounds are still {np.ptp(change):g} apart after {sweeps} sweeps")
