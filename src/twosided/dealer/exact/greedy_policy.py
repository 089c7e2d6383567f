"""Greedy policy of a value function of inventory: its actions, its exact evaluation, and the policy for the simulator.

For the book that it observes and a value function h of inventory, the policy solves the maximisation in the Bellman
operator,

    max over u and quotes of  s m + Σ_o p_o E_o [φ + h](u + B - S) - c P_0 C(|z - u|)

in the notation of bellman.py. Under the policy the inventory is a Markov chain, whose distribution is computed forwards
from z = 0.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twosided.core.numeric import FloatArray, Scalar
from twosided.core.policy import StatelessPolicy
from twosided.dealer.exact.bellman import WIN_SHARES, BellmanOperator
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.dealer.reference_book import Snapshot


@dataclass(frozen=True, eq=False)
class SkewCurve:
    """Action of the policy as a function of inventory, averaged over books."""

    inventory: FloatArray
    """z before the step, in units."""
    visits: FloatArray
    """Fraction of the steps of an episode that start at z; sums to 1."""
    epsilon_buy: FloatArray
    """Mean ε_b; a quote that loses with certainty counts as 1."""
    epsilon_sell: FloatArray
    """Mean ε_s; a quote that loses with certainty counts as 1."""
    win_buy: FloatArray
    """Probability of winning an order on the buy side, from an investor that sells."""
    win_sell: FloatArray
    """Probability of winning an order on the sell side, from an investor that buys."""
    hedge: FloatArray
    """Mean volume hedged, in units; hedges reduce |z|."""


@dataclass(frozen=True, eq=False)
class PolicyEvaluation:
    """Evaluation of the policy over episodes that start from z = 0, exact for the sample of books."""

    curve: SkewCurve
    """Action as a function of inventory."""
    value: float
    """Mean reward per step, in currency."""
    limit_probability: float
    """Probability per step of a quote that stands for a limit (see `bellman.UNDERCUT`)."""
    inventory_mean: float
    """Mean of z after a step, in units."""
    inventory_std: float
    """Standard deviation of z after a step, in units."""


class GreedyPolicy(StatelessPolicy):
    """Greedy policy for the simulator: the best hedge and quotes for the observed inventory and book."""

    inventory: Float[Array, "grid"]
    """Inventory grid of u, in units."""
    pair_values: Float[Array, "grid pairs"]
    """Σ_o p_o E_o [φ + h](u + B - S), in currency."""
    margin: Float[Array, "pairs"]
    """m of each pair of quotes, in units of trade."""
    epsilon: Float[Array, "pairs 2"]
    """ε_b and ε_s of each pair of quotes."""
    mid: Scalar
    """P_0, in currency."""
    tick: Scalar
    """Distance between neighbouring levels of the book, as a fraction of the mid."""
    hedge_cost: Scalar
    """Multiplier c of the cost of hedging."""

    @classmethod
    def from_value(
        cls, operator: BellmanOperator, value: FloatArray, mid: float, market: DealerMarket
    ) -> "GreedyPolicy":
        """Return the policy for h = `value`, given on the extended grid of the operator."""
        return cls(
            inventory=jnp.asarray(operator.grid, jnp.float32),
            pair_values=jnp.asarray(operator.pair_values(operator.outcome_values(value)), jnp.float32),
            margin=jnp.asarray(operator.num_orders * operator.quotes.margin, jnp.float32),
            epsilon=jnp.asarray(operator.quotes.epsilon, jnp.float32),
            mid=mid,
            tick=market.book.tick,
            hedge_cost=market.hedge_cost,
        )

    def act(self, shock, state, observation):
        z, kept = observation.inventory, self.inventory.astype(observation.inventory.dtype)
        book = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick, z.dtype))
        order_value = self.mid * book.spread_curve(jnp.ones_like(z))
        quoted = self.pair_values + order_value * self.margin
        # z is a grid point up to rounding, for which half a grid step is allowed.
        between = (kept * jnp.sign(z) >= 0) & (jnp.abs(kept) <= jnp.abs(z) + (kept[1] - kept[0]) / 2)
        cost = self.hedge_cost * self.mid * book.cost(jnp.maximum(jnp.abs(z) - jnp.abs(kept), 0.0))
        best = jnp.where(between, quoted.max(-1) - cost, -jnp.inf).argmax()
        epsilon = self.epsilon[quoted[best].argmax()]
        hedged = jnp.where(z != 0, 1 - kept[best] / jnp.where(z != 0, z, 1.0), 0.0)
        return DealerAction(epsilon[0], epsilon[1], jnp.clip(hedged, 0.0, 1.0)), state


def evaluate_greedy(operator: BellmanOperator, value: FloatArray, horizon: int) -> PolicyEvaluation:
    """Evaluate the greedy policy of h = `value`, given on the extended grid, over episodes of `horizon` steps.

    Inventories that leave the grid are moved to its end.
    """
    quotes, books = operator.quotes, operator.books
    size, zero = operator.grid.size, operator.max_inventory * operator.refinement
    pair_values = operator.pair_values(operator.outcome_values(value))
    sides = quotes.probabilities.reshape(-1, 3, 3)
    features = np.column_stack(
        [quotes.epsilon, sides.sum(2) @ WIN_SHARES, sides.sum(1) @ WIN_SHARES, quotes.is_limit]
    )
    margin, weight = operator.num_orders * quotes.margin, 1 / books.order_value.size

    here = np.arange(size)
    toward = np.sign(zero - here)
    mean_features, mean_hedge, reward = np.zeros((size, features.shape[1])), np.zeros(size), np.zeros(size)
    transition = csr_array((size, 9 * size))
    for order_value, cost in zip(books.order_value, books.hedge_cost, strict=True):
        pair = np.stack([(pair_values + s * margin).argmax(-1) for s in order_value])
        steps = _hedge_steps(pair_values[here, pair] + order_value[:, None] * margin[pair], cost)
        after = here + toward * steps
        chosen = np.take_along_axis(pair, after, -1)
        mean_features += weight * features[chosen].sum(0)
        mean_hedge += weight * steps.sum(0) / operator.refinement
        hedge_cost = np.take_along_axis(cost, steps, -1)
        reward += weight * (order_value[:, None] * margin[chosen] - hedge_cost).sum(0)
        column = 9 * after[..., None] + np.arange(9)
        row = np.broadcast_to(here[:, None], column.shape)
        entries = weight * quotes.probabilities[chosen].ravel(), (row.ravel(), column.ravel())
        transition = transition + csr_array(entries, transition.shape)

    distribution = (here == zero).astype(float)
    visits, after_step, total = np.zeros(size), np.zeros(operator.extended_grid.size), 0.0
    for _ in range(horizon):
        following = _after_orders(
            operator, (distribution @ transition).reshape(size, 9) @ operator.net_flow_distributions
        )
        total += distribution @ reward + following @ operator.penalty(operator.extended_grid)
        visits += distribution / horizon
        after_step += following / horizon
        distribution = _on_grid(following, size)
    mean = after_step @ operator.extended_grid
    return PolicyEvaluation(
        curve=SkewCurve(
            inventory=operator.grid,
            visits=visits,
            epsilon_buy=mean_features[:, 0],
            epsilon_sell=mean_features[:, 1],
            win_buy=mean_features[:, 2],
            win_sell=mean_features[:, 3],
            hedge=mean_hedge,
        ),
        value=float(total / horizon),
        limit_probability=float(visits @ mean_features[:, 4]),
        inventory_mean=float(mean),
        inventory_std=float(np.sqrt(after_step @ (operator.extended_grid - mean) ** 2)),
    )


def _hedge_steps(kept: FloatArray, cost: FloatArray) -> NDArray[np.int_]:
    """Return the optimal hedge in grid steps, for each book and inventory."""
    zero = kept.shape[-1] // 2
    best, steps = kept.copy(), np.zeros(kept.shape, int)
    for k in range(1, zero + 1):
        for side, from_side in (
            (np.s_[:, zero + k :], np.s_[:, zero:-k]),
            (np.s_[:, : zero - k + 1], np.s_[:, k : zero + 1]),
        ):
            hedged = kept[from_side] - cost[:, k, None]
            better = hedged > best[side]
            best[side] = np.where(better, hedged, best[side])
            steps[side] = np.where(better, k, steps[side])
    return steps


def _after_orders(operator: BellmanOperator, joint: FloatArray) -> FloatArray:
    """Return the distribution of u + B - S on the extended grid, from the joint one of u (rows) and B - S (columns)."""
    distribution = np.zeros(operator.extended_grid.size)
    for column, probability in enumerate(joint.T):
        start = column * operator.refinement
        distribution[start : start + probability.size] += probability
    return distribution


def _on_grid(distribution: FloatArray, size: int) -> FloatArray:
    """Return the distribution on the grid, with the mass beyond it moved to its ends."""
    pad = (distribution.size - size) // 2
    inside = distribution[pad : pad + size].copy()
    inside[0] += distribution[:pad].sum()
    inside[-1] += distribution[pad + size :].sum()
    return inside
