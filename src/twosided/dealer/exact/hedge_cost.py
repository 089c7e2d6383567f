"""The expected hedge cost of a maker that draws its action from fixed laws, with a bracket that contains it.

In step t the maker hedges the fraction x of its inventory z on the exchange and then wins the net flow w:

    cost_t = c P_t C(|x_t z_t|),    z_{t+1} = (1 - x_t) z_t + w_t,    z_0 = 0,    C(v) = E[v S_ref(v)]

with x_t, w_t, the book and the midprice independent of each other and of z_t. C(|·|) is convex, so cost and
transition preserve the convex order (X ≤ Y if E f(X) <= E f(Y) for every convex f): whatever spreads the law
of z about its mean, at any step, raises the expected cost, and whatever contracts it lowers it. Two chains of
laws on a grid therefore bracket the truth:

    upper    a mass between two nodes is split between them, keeping its mean
    lower    the mass in the cell between two nodes is put on its conditional mean

A law of x that is uniform is likewise spread to the ends, or contracted to the middles, of cells: (1 - x) z
and x z are linear in x. C is taken along its chords, or below them (cost_curve.py).

What leaves the grid is dropped. Costs are not negative, so the lower bound stands; to the upper bound is
added all that the dropped mass could have cost. So the middle of the bracket and half its width are a value
and a rigorous error bound, up to float64 rounding and given the mean of C's estimates, whose standard error
is reported apart.

Units: inventory and flow in units of trade; costs in currency a step if `mid` is in currency. A cost is
positive here; the hedge part of PnL is minus it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d

from twosided.core.numeric import Array
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.cost_curve import CostCurve
from twosided.dealer.exact.spread_pnl import FixedMaker, win_law

WINDOW = 10.0
"""Half width of the grid about the mean inventory, in standard deviations."""
UNSETTLED = 1e-10
"""What may be left of the distance to the long run when its law is read off."""

Points = tuple[Array, Array]
"""A law on finitely many points: the points and their probabilities."""


@dataclass(frozen=True)
class HedgeCost:
    """Expected cost of hedging a step, in the unit of `mid` (currency)."""

    lower: float
    upper: float
    standard_error: float
    """Of the expectation over books, in the same unit."""

    @property
    def value(self) -> float:
        """The middle of the bracket."""
        return (self.lower + self.upper) / 2

    @property
    def bound(self) -> float:
        """Half the width of the bracket."""
        return (self.upper - self.lower) / 2


def net_flow_law(
    makers: Sequence[FixedMaker], seat: int, investors: int = 20, arrival_probability: float = 1.0
) -> Array:
    """The law of w, what the seat buys less what it sells in a step, on -investors..investors.

    Each investor comes with the arrival probability and brings a unit order, a buy or a sale with equal
    probability. Given that the seat is among the best k makers where it buys and the best l where it sells,
    an order moves its inventory by +1 with probability 1/(2k) and by -1 with probability 1/(2l).
    """
    check("seat", seat, f"one of the makers (0..{len(makers) - 1})", 0 <= seat < len(makers))
    check("investors", investors, "at least 1", investors >= 1)
    check("arrival_probability", arrival_probability, "in [0, 1]", lambda: 0 <= arrival_probability <= 1)
    shares = np.append(1.0 / np.arange(1, len(makers) + 1), 0.0)
    buying = _with_none(win_law([maker.buy for maker in makers], seat)[0])
    selling = _with_none(win_law([maker.sell for maker in makers], seat)[0])
    law = np.zeros(2 * investors + 1)
    for buy_share, buy_chance in zip(shares, buying, strict=True):
        for sell_share, sell_chance in zip(shares, selling, strict=True):
            plus, minus = arrival_probability * buy_share / 2, arrival_probability * sell_share / 2
            one_order, all_orders = np.array([minus, 1 - plus - minus, plus]), np.ones(1)
            for _ in range(investors):
                all_orders = np.convolve(all_orders, one_order)
            law += buy_chance * sell_chance * all_orders
    return law


def expected_hedge_cost(
    flow: ArrayLike,
    hedge: Distribution,
    curve: CostCurve,
    *,
    steps: int | None = 200,
    mid: ArrayLike = 1.0,
    multiplier: float = 1.0,
    resolution: int = 16,
    hedge_cells: int = 64,
) -> HedgeCost:
    """Expected hedge cost a step, the mean over an episode that starts without inventory, or in the long run.

    `flow` is the law of w on -n..n and `hedge` that of x; `steps` is the episode's length, None the long run.
    `mid` is E[P_t], a number or one a step (P0 exp(mu t) under drift). `resolution` is the number of nodes a
    unit of inventory and `hedge_cells` the number of cells of each uniform part of `hedge`: the bracket
    narrows with the square of both, down to what the curve's own bounds allow.
    """
    flow = np.asarray(flow, float)
    is_law = flow.ndim == 1 and flow.size % 2 == 1 and (flow >= 0).all() and abs(flow.sum() - 1) < 1e-9
    constraint = f"probabilities on -n..n (an odd number, here shape {flow.shape}) that sum to 1"
    check("flow", float(flow.sum()), constraint, is_law)
    on_unit = hedge.support[0] >= 0 and hedge.support[1] <= 1
    check("hedge", hedge.support, "a law on [0, 1]", on_unit)
    check("steps", steps, "at least 1, or None for the long run", lambda: steps is None or steps >= 1)
    check("mid", mid, "at least 0 and finite", lambda: is_at_least(mid, 0))
    one_each = np.size(mid) in (1, steps)
    check("mid", np.size(mid), f"one number, or one for each of the steps ({steps})", one_each)
    check("multiplier", multiplier, "at least 0 and finite", lambda: is_at_least(multiplier, 0))
    check("resolution", resolution, "at least 1", resolution >= 1)
    check("hedge_cells", hedge_cells, "at least 1", hedge_cells >= 1)
    if hedge.support[1] == 0:
        return HedgeCost(0.0, 0.0, 0.0)

    if steps is None:
        settled, distance = _settling(flow, hedge)
        weights = np.append(np.zeros(settled), float(np.asarray(mid).item()))
        unsettled = weights[-1] * curve.slopes[1] * distance
    else:
        weights = np.broadcast_to(np.asarray(mid, float), steps) / steps
        unsettled = 0.0

    spread, contracted = _hedge_points(hedge, hedge_cells)
    reach = _reach(flow, spread, weights.size)
    visits, dropped = _spread_visits(flow, spread, weights, reach, resolution)
    volume, mass = _volumes(visits, spread)
    # No path is farther out than the largest flow and a cell of the grid for every step.
    farthest = (flow.size // 2 + 1) * weights.size
    upper = curve.above(volume) @ mass + dropped * curve.slopes[1] * farthest + unsettled
    error = curve.standard_error(volume, mass)
    visits = _contracted_visits(flow, contracted, weights, reach, resolution)
    volume, mass = _volumes(visits, contracted)
    lower = max(curve.below(volume) @ mass - unsettled, 0.0)
    return HedgeCost(float(multiplier * lower), float(multiplier * upper), float(multiplier * error))


def _spread_visits(
    flow: Array, hedge: Points, weights: Array, reach: int, resolution: int
) -> tuple[Points, float]:
    """Σ_t weight_t law of z_t, each spread to the nodes; and Σ_t weight_t mass dropped by then."""
    nodes = _nodes(reach, resolution)
    x, chance = hedge
    position = (np.outer(1 - x, nodes) + reach) * resolution
    left = np.floor(position).astype(int)
    to_right = chance[:, None] * (position - left)
    to_left = chance[:, None] - to_right

    law = (nodes == 0).astype(float)
    visits, dropped = np.zeros_like(law), 0.0
    for weight in weights:
        visits += weight * law
        dropped += weight * max(1 - law.sum(), 0.0)
        kept = _gather(left, to_left * law, law.size + 1) + _gather(left + 1, to_right * law, law.size + 1)
        law = _add_flow(kept[:-1], flow, resolution)
    return (nodes, visits), dropped


def _contracted_visits(flow: Array, hedge: Points, weights: Array, reach: int, resolution: int) -> Points:
    """Σ_t weight_t law of z_t, each contracted to the conditional means in the cells to the nodes' right."""
    nodes = _nodes(reach, resolution)
    x, chance = hedge
    net = np.arange(flow.size) - flow.size // 2

    mass, moment = (nodes == 0).astype(float), np.zeros_like(nodes)
    visits, visit_moments = np.zeros_like(nodes), np.zeros_like(nodes)
    for weight in weights:
        visits += weight * mass
        visit_moments += weight * moment
        position = np.outer(1 - x, _ratio(moment, mass, nodes))
        cell = np.clip((position + reach) * resolution, 0, nodes.size - 1).astype(int)
        kept = np.outer(chance, mass)
        mass, moment = _gather(cell, kept, nodes.size), _gather(cell, kept * position, nodes.size)
        moment = _add_flow(moment, flow, resolution) + _add_flow(mass, flow * net, resolution)
        mass = _add_flow(mass, flow, resolution)
    return _ratio(visit_moments, visits, nodes), visits


def _nodes(reach: int, resolution: int) -> Array:
    """From -reach up to reach, without it; the integers are nodes."""
    return np.arange(-reach * resolution, reach * resolution) / resolution


def _gather(index: NDArray[np.int_], weights: Array, size: int) -> Array:
    """The sum of the weights at each index."""
    return np.asarray(np.bincount(index.ravel(), weights.ravel(), size), float)


def _add_flow(law: Array, flow: Array, resolution: int) -> Array:
    """The law after an independent integer is added; what leaves the grid is dropped."""
    return convolve1d(law.reshape(-1, resolution), flow, axis=0, mode="constant").ravel()


def _ratio(moment: Array, mass: Array, otherwise: Array) -> Array:
    return np.divide(moment, mass, out=otherwise.copy(), where=mass > 0)


def _volumes(visits: Points, hedge: Points) -> Points:
    """|x z| and its weight, for every pair of an x and a z."""
    return np.abs(np.outer(hedge[0], visits[0])).ravel(), np.outer(hedge[1], visits[1]).ravel()


def _hedge_points(hedge: Distribution, cells: int) -> tuple[Points, Points]:
    """The law of x with its uniform parts spread to the ends, and contracted to the middles, of cells."""
    values, chances = hedge.atoms
    spread, contracted = [(values, chances)], [(values, chances)]
    for low, high, chance in zip(*hedge.uniforms, strict=True):
        edges, share = np.linspace(low, high, cells + 1), np.full(cells, chance / cells)
        spread.append((edges, (np.append(share, 0.0) + np.append(0.0, share)) / 2))
        contracted.append(((edges[1:] + edges[:-1]) / 2, share))
    return _joined(spread), _joined(contracted)


def _joined(laws: list[Points]) -> Points:
    return np.concatenate([points for points, _ in laws]), np.concatenate([chance for _, chance in laws])


def _settling(flow: Array, hedge: Distribution) -> tuple[int, float]:
    """Steps until the law of z is that of the long run, and how far E[x |z|] may then be from it.

    Beside a stationary path with the same flow and hedges, |z_t - z| shrinks by E[1 - x] a step, from at most
    E|w| / E[x].
    """
    check("hedge", hedge.mean, "0, or 0.001 or more in the mean, for the long run", hedge.mean >= 1e-3)
    kept = max(1 - hedge.mean, 0.0)
    steps = 1 if kept == 0 else int(np.ceil(np.log(UNSETTLED) / np.log(kept)))
    mean_size = flow @ np.abs(np.arange(flow.size) - flow.size // 2)
    return steps, float(mean_size * kept**steps)


def _reach(flow: Array, hedge: Points, steps: int) -> int:
    """Half width of the grid in whole units: all the support of z, or WINDOW standard deviations if less."""
    largest = flow.size // 2
    net = np.arange(-largest, largest + 1)
    drift, square = flow @ net, flow @ net**2
    x, chance = hedge
    kept, kept_square = chance @ (1 - x), chance @ (1 - x) ** 2
    mean, second, farthest = 0.0, 0.0, 0.0
    for _ in range(steps):
        second = kept_square * second + 2 * kept * mean * drift + square
        mean = kept * mean + drift
        farthest = max(farthest, abs(mean) + WINDOW * np.sqrt(max(second - mean**2, 0.0)))
    support = (largest + 1) / max(x.min(), 1 / steps)
    return int(np.ceil(min(farthest + largest, support))) + 1


def _with_none(best: Array) -> Array:
    """P[among the best k], k = 1, 2, ..., and the chance of not being among them."""
    return np.append(best, max(1 - best.sum(), 0.0))
