"""The optimal policy of an inventory game: what it quotes and hedges, the inventory that it leads to, and it at play.

The policy repeats one maximisation, for the book that it sees and a function h of inventory (what follows is worth):

    max over u and quotes of  s m + Σ_o p_o E_o [φ + h](u + B - S) - c P_0 C(|z - u|)

in the notation of inventory_game.py. Its inventory is a Markov chain, whose law is followed from z = 0.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twosided.core.numeric import Array, Scalar
from twosided.core.policy import StatelessPolicy
from twosided.dealer.exact.bellman import SHARES, Game
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.dealer.reference_book import Snapshot


@dataclass(frozen=True, eq=False)
class SkewCurve:
    """What the policy does at each inventory, on average over the books that it may see."""

    inventory: Array
    """z before the step, in units."""
    visits: Array
    """How often a step of an episode starts there; sums to 1."""
    epsilon_buy: Array
    """Mean ε_b; a quote that is meant to lose counts as 1."""
    epsilon_sell: Array
    """Mean ε_s, likewise."""
    win_buy: Array
    """Probability of winning an order of those who sell."""
    win_sell: Array
    """Probability of winning an order of those who buy."""
    hedge: Array
    """Mean volume hedged, in units; it reduces |z|."""


@dataclass(frozen=True, eq=False)
class Play:
    """Episodes of the policy from z = 0, exactly for the game's books."""

    curve: SkewCurve
    value: float
    """Mean reward a step, in currency."""
    approached: float
    """Probability of a quote in a step that is only next to what it is meant for."""
    inventory_mean: float
    """Of z after a step, in units."""
    inventory_std: float
    """Deviation of z after a step, in units."""


class InventoryPolicy(StatelessPolicy):
    """Plays the optimum in the simulator: the best hedge and quotes for the inventory and the book that it sees."""

    inventory: Float[JaxArray, "grid"]
    """What it may keep, in units."""
    worth: Float[JaxArray, "grid pairs"]
    """Σ_o p_o E_o [φ + h](u + B - S), in currency."""
    margin: Float[JaxArray, "pairs"]
    """N m, in units of trade."""
    epsilon: Float[JaxArray, "pairs 2"]
    """ε_b and ε_s."""
    mid: Scalar
    """P_0, in currency."""
    tick: Scalar
    """Distance between the book's levels, a fraction of the mid."""
    hedge_cost: Scalar
    """Multiplier c of the cost of hedging."""

    @classmethod
    def of(cls, game: Game, future: Array, mid: float, market: DealerMarket) -> "InventoryPolicy":
        """For h = `future`, given on the grid and beyond."""
        return cls(
            inventory=jnp.asarray(game.inventory, jnp.float32),
            worth=jnp.asarray(game.expected(game.outcomes(future)), jnp.float32),
            margin=jnp.asarray(game.orders * game.quotes.margin, jnp.float32),
            epsilon=jnp.asarray(game.quotes.epsilon, jnp.float32),
            mid=mid,
            tick=market.book.tick,
            hedge_cost=market.hedge_cost,
        )

    def act(self, shock, memory, observation):
        z, kept = observation.inventory, self.inventory.astype(observation.inventory.dtype)
        book = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick, z.dtype))
        order = self.mid * book.spread_curve(jnp.ones_like(z))
        quoted = self.worth + order * self.margin
        # Half a step of the grid is left for rounding of z, which is a point of it.
        between = (kept * jnp.sign(z) >= 0) & (jnp.abs(kept) <= jnp.abs(z) + (kept[1] - kept[0]) / 2)
        cost = self.hedge_cost * self.mid * book.cost(jnp.maximum(jnp.abs(z) - jnp.abs(kept), 0.0))
        best = jnp.where(between, quoted.max(-1) - cost, -jnp.inf).argmax()
        epsilon = self.epsilon[quoted[best].argmax()]
        hedged = jnp.where(z != 0, 1 - kept[best] / jnp.where(z != 0, z, 1.0), 0.0)
        return DealerAction(epsilon[0], epsilon[1], jnp.clip(hedged, 0.0, 1.0)), memory


def play(game: Game, future: Array, horizon: int) -> Play:
    """The policy of h = `future`, given on the grid and beyond. What leaves the grid is put on its end."""
    quotes, size, zero = game.quotes, game.inventory.size, game.reach * game.refinement
    expected = game.expected(game.outcomes(future))
    sides = quotes.chance.reshape(-1, 3, 3)
    told = np.column_stack([quotes.epsilon, sides.sum(2) @ SHARES, sides.sum(1) @ SHARES, quotes.limit])
    margin, share = game.orders * quotes.margin, 1 / game.books.order.size

    here = np.arange(size)
    toward = np.sign(zero - here)
    mean_told, mean_hedge, earned = np.zeros((size, told.shape[1])), np.zeros(size), np.zeros(size)
    follows = csr_array((size, 9 * size))
    for order, cost in zip(game.books.order, game.books.hedge, strict=True):
        pair = np.stack([(expected + s * margin).argmax(-1) for s in order])
        steps = _hedge_steps(expected[here, pair] + order[:, None] * margin[pair], cost)
        after = here + toward * steps
        chosen = np.take_along_axis(pair, after, -1)
        mean_told += share * told[chosen].sum(0)
        mean_hedge += share * steps.sum(0) / game.refinement
        earned += share * (order[:, None] * margin[chosen] - np.take_along_axis(cost, steps, -1)).sum(0)
        column = 9 * after[..., None] + np.arange(9)
        row = np.broadcast_to(here[:, None], column.shape)
        entries = share * quotes.chance[chosen].ravel(), (row.ravel(), column.ravel())
        follows = follows + csr_array(entries, follows.shape)

    law = (here == zero).astype(float)
    visits, reached, total = np.zeros(size), np.zeros(game.beyond.size), 0.0
    for _ in range(horizon):
        following = _after_orders(game, (law @ follows).reshape(size, 9) @ game.flows)
        total += law @ earned + following @ game.risk(game.beyond)
        visits += law / horizon
        reached += following / horizon
        law = _on_grid(following, size)
    mean = reached @ game.beyond
    return Play(
        curve=SkewCurve(
            inventory=game.inventory,
            visits=visits,
            epsilon_buy=mean_told[:, 0],
            epsilon_sell=mean_told[:, 1],
            win_buy=mean_told[:, 2],
            win_sell=mean_told[:, 3],
            hedge=mean_hedge,
        ),
        value=float(total / horizon),
        approached=float(visits @ mean_told[:, 4]),
        inventory_mean=float(mean),
        inventory_std=float(np.sqrt(reached @ (game.beyond - mean) ** 2)),
    )


def _hedge_steps(kept: Array, cost: Array) -> NDArray[np.int_]:
    """How many steps of the grid to hedge, for each book and inventory."""
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


def _after_orders(game: Game, won: Array) -> Array:
    """The law on the grid and beyond, from that of what is kept (rows) and won (columns)."""
    law = np.zeros(game.beyond.size)
    for column, chance in enumerate(won.T):
        start = column * game.refinement
        law[start : start + chance.size] += chance
    return law


def _on_grid(law: Array, size: int) -> Array:
    pad = (law.size - size) // 2
    inside = law[pad : pad + size].copy()
    inside[0] += law[:pad].sum()
    inside[-1] += law[pad + size :].sum()
    return inside
