"""Expected hedge cost of a maker that acts from fixed distributions, with rigorous upper and lower bounds.

In step t the maker hedges the fraction x of its inventory z on the exchange and then wins the net flow w:

    cost_t = c P_t C(|x_t z_t|),    z_{t+1} = (1 - x_t) z_t + w_t,    z_0 = 0,    C(v) = E[v S_ref(v)]

where x_t, w_t, the book and the midprice are independent of each other and of z_t. C(|·|) is convex, so the cost and
the transition preserve the convex order (X ≤ Y if E f(X) <= E f(Y) for every convex f): spreading the distribution of z
about its mean, at any step, raises the expected cost, and contracting it lowers the expected cost. Two sequences of
distributions on a grid therefore bound the exact cost:

    upper    a mass between two nodes is split between them, keeping its mean
    lower    the mass in the cell between two nodes is placed at its conditional mean

A uniform distribution of x is likewise spread to the ends, or contracted to the midpoints, of cells, because (1 - x) z
and x z are linear in x. C is replaced by its upper or its lower bound (cost_curve.py).

Mass that leaves the grid is dropped. Costs are not negative, so the lower bound remains valid; the largest cost that
the dropped mass could have is added to the upper bound. The midpoint of the bounds is the value and half their distance
a rigorous error bound, up to float64 rounding and given the mean of the estimates of C, whose standard error is
reported separately.

Units: inventory and flow in units of trade; costs in currency per step if `mid` is in currency. Costs are positive
here; hedge PnL is their negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d

from twosided.core.numeric import FloatArray
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.cost_curve import CostCurve
from twosided.dealer.exact.spread_pnl import FixedMaker, win_distribution

HALF_WIDTH = 10.0
"""Half-width of the grid about the mean inventory, in standard deviations."""
CONVERGENCE_TOLERANCE = 1e-10
"""Relative distance to the stationary distribution at which the iteration for the long run stops."""

Discrete = tuple[FloatArray, FloatArray]
"""Discrete distribution: points and their probabilities."""


@dataclass(frozen=True)
class HedgeCost:
    """Expected hedge cost per step with bounds, in the unit of `mid` (currency)."""

    lower: float
    """Lower bound."""
    upper: float
    """Upper bound."""
    standard_error: float
    """Standard error of the expectation over books."""

    @property
    def value(self) -> float:
        """Midpoint of the bounds."""
        return (self.lower + self.upper) / 2

    @property
    def bound(self) -> float:
        """Half the distance of the bounds."""
        return (self.upper - self.lower) / 2


def net_flow_distribution(
    makers: Sequence[FixedMaker], seat: int, investors: int = 20, arrival_probability: float = 1.0
) -> FloatArray:
    """Return the distribution of the net flow w of a maker in a step, buys less sells, on -investors..investors.

    Each investor arrives with the arrival probability and places a unit order, a buy or a sell with equal probability.
    Given that the maker is tied for the best price with k - 1 others where it buys and with l - 1 others where it
    sells, an order changes its inventory by +1 with probability 1/(2k) and by -1 with probability 1/(2l).
    """
    check("seat", seat, f"one of the makers (0..{len(makers) - 1})", 0 <= seat < len(makers))
    check("investors", investors, "at least 1", investors >= 1)
    check("arrival_probability", arrival_probability, "in [0, 1]", lambda: 0 <= arrival_probability <= 1)
    shares = np.append(1.0 / np.arange(1, len(makers) + 1), 0.0)
    buy_probabilities = _append_loss(win_distribution([maker.buy for maker in makers], seat)[0])
    sell_probabilities = _append_loss(win_distribution([maker.sell for maker in makers], seat)[0])
    distribution = np.zeros(2 * investors + 1)
    for buy_share, buy_probability in zip(shares, buy_probabilities, strict=True):
        for sell_share, sell_probability in zip(shares, sell_probabilities, strict=True):
            plus, minus = arrival_probability * buy_share / 2, arrival_probability * sell_share / 2
            one_order, all_orders = np.array([minus, 1 - plus - minus, plus]), np.ones(1)
            for _ in range(investors):
                all_orders = np.convolve(all_orders, one_order)
            distribution += buy_probability * sell_probability * all_orders
    return distribution


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
    """Return the expected hedge cost per step, averaged over an episode that starts without inventory.

    `flow` is the distribution of w on -n..n and `hedge` that of x. `steps` is the length of the episode; None gives the
    long-run average. `mid` is E[P_t], one number or one per step (P_0 exp(μ t) with drift). `multiplier` is c.
    `resolution` is the number of nodes per unit of inventory and `hedge_cells` the number of cells of each uniform part
    of `hedge`: the distance of the bounds falls with the square of both, down to the accuracy of the bounds of the
    curve. Raises ValueError for an invalid argument.
    """
    flow = np.asarray(flow, float)
    is_distribution = (
        flow.ndim == 1 and flow.size % 2 == 1 and (flow >= 0).all() and abs(flow.sum() - 1) < 1e-9
    )
    constraint = f"probabilities on -n..n (an odd number; the shape is {flow.shape}) that sum to 1"
    check("flow", float(flow.sum()), constraint, is_distribution)
    on_unit_interval = hedge.support[0] >= 0 and hedge.support[1] <= 1
    check("hedge", hedge.support, "a distribution on [0, 1]", on_unit_interval)
    check("steps", steps, "at least 1, or None for the long run", lambda: steps is None or steps >= 1)
    check("mid", mid, "at least 0 and finite", lambda: is_at_least(mid, 0))
    one_each = np.size(mid) in (1, steps)
    check("mid", np.size(mid), f"one number, or one number per step ({steps})", one_each)
    check("multiplier", multiplier, "at least 0 and finite", lambda: is_at_least(multiplier, 0))
    check("resolution", resolution, "at least 1", resolution >= 1)
    check("hedge_cells", hedge_cells, "at least 1", hedge_cells >= 1)
    if hedge.support[1] == 0:
        return HedgeCost(0.0, 0.0, 0.0)

    if steps is None:
        burn_in, distance = _burn_in(flow, hedge)
        weights = np.append(np.zeros(burn_in), float(np.asarray(mid).item()))
        remainder = weights[-1] * curve.slopes[1] * distance
    else:
        weights = np.broadcast_to(np.asarray(mid, float), steps) / steps
        remainder = 0.0

    spread, contracted = _hedge_points(hedge, hedge_cells)
    half_width = _grid_half_width(flow, spread, weights.size)
    visits, dropped = _spread_visits(flow, spread, weights, half_width, resolution)
    volume, mass = _volumes(visits, spread)
    # |z| is at most the sum over steps of the largest flow and one cell of the grid.
    max_inventory = (flow.size // 2 + 1) * weights.size
    upper = curve.above(volume) @ mass + dropped * curve.slopes[1] * max_inventory + remainder
    error = curve.standard_error(volume, mass)
    visits = _contracted_visits(flow, contracted, weights, half_width, resolution)
    volume, mass = _volumes(visits, contracted)
    lower = max(curve.below(volume) @ mass - remainder, 0.0)
    return HedgeCost(float(multiplier * lower), float(multiplier * upper), float(multiplier * error))


def _spread_visits(
    flow: FloatArray, hedge: Discrete, weights: FloatArray, half_width: int, resolution: int
) -> tuple[Discrete, float]:
    """Return Σ_t weight_t P[z_t = ·], spread to the nodes in each step, and Σ_t weight_t (mass dropped before t)."""
    nodes = _nodes(half_width, resolution)
    x, probability = hedge
    position = (np.outer(1 - x, nodes) + half_width) * resolution
    left = np.floor(position).astype(int)
    to_right = probability[:, None] * (position - left)
    to_left = probability[:, None] - to_right

    distribution = (nodes == 0).astype(float)
    visits, dropped = np.zeros_like(distribution), 0.0
    for weight in weights:
        visits += weight * distribution
        dropped += weight * max(1 - distribution.sum(), 0.0)
        kept = _gather(left, to_left * distribution, distribution.size + 1) + _gather(
            left + 1, to_right * distribution, distribution.size + 1
        )
        distribution = _add_flow(kept[:-1], flow, resolution)
    return (nodes, visits), dropped


def _contracted_visits(
    flow: FloatArray, hedge: Discrete, weights: FloatArray, half_width: int, resolution: int
) -> Discrete:
    """Return Σ_t weight_t P[z_t = ·], contracted in each step to conditional means in the cells right of the nodes."""
    nodes = _nodes(half_width, resolution)
    x, probability = hedge
    net = np.arange(flow.size) - flow.size // 2

    mass, moment = (nodes == 0).astype(float), np.zeros_like(nodes)
    visits, visit_moments = np.zeros_like(nodes), np.zeros_like(nodes)
    for weight in weights:
        visits += weight * mass
        visit_moments += weight * moment
        position = np.outer(1 - x, _ratio(moment, mass, nodes))
        cell = np.clip((position + half_width) * resolution, 0, nodes.size - 1).astype(int)
        kept = np.outer(probability, mass)
        mass, moment = _gather(cell, kept, nodes.size), _gather(cell, kept * position, nodes.size)
        moment = _add_flow(moment, flow, resolution) + _add_flow(mass, flow * net, resolution)
        mass = _add_flow(mass, flow, resolution)
    return _ratio(visit_moments, visits, nodes), visits


def _nodes(half_width: int, resolution: int) -> FloatArray:
    """Nodes from -half_width up to, but excluding, half_width; the integers are nodes."""
    return np.arange(-half_width * resolution, half_width * resolution) / resolution


def _gather(index: NDArray[np.int_], weights: FloatArray, size: int) -> FloatArray:
    """Return the sum of the weights at each index."""
    return np.asarray(np.bincount(index.ravel(), weights.ravel(), size), float)


def _add_flow(distribution: FloatArray, flow: FloatArray, resolution: int) -> FloatArray:
    """Return the distribution after an independent integer flow is added; mass that leaves the grid is dropped."""
    return convolve1d(distribution.reshape(-1, resolution), flow, axis=0, mode="constant").ravel()


def _ratio(moment: FloatArray, mass: FloatArray, otherwise: FloatArray) -> FloatArray:
    return np.divide(moment, mass, out=otherwise.copy(), where=mass > 0)


def _volumes(visits: Discrete, hedge: Discrete) -> Discrete:
    """Return |x z| and its weight for every pair of x and z."""
    return np.abs(np.outer(hedge[0], visits[0])).ravel(), np.outer(hedge[1], visits[1]).ravel()


def _hedge_points(hedge: Distribution, cells: int) -> tuple[Discrete, Discrete]:
    """Return the distribution of x with uniform parts spread to cell ends, and contracted to cell midpoints."""
    values, probabilities = hedge.atoms
    spread, contracted = [(values, probabilities)], [(values, probabilities)]
    for low, high, probability in zip(*hedge.uniforms, strict=True):
        edges, share = np.linspace(low, high, cells + 1), np.full(cells, probability / cells)
        spread.append((edges, (np.append(share, 0.0) + np.append(0.0, share)) / 2))
        contracted.append(((edges[1:] + edges[:-1]) / 2, share))
    return _concatenated(spread), _concatenated(contracted)


def _concatenated(parts: list[Discrete]) -> Discrete:
    return np.concatenate([points for points, _ in parts]), np.concatenate([weights for _, weights in parts])


def _burn_in(flow: FloatArray, hedge: Distribution) -> tuple[int, float]:
    """Return the number of steps until z is approximately stationary, and a bound on the remaining error of E[x |z|].

    Coupled with a stationary path with the same flow and hedges, E|z_t - z| shrinks by the factor E[1 - x] per step,
    from at most E|w| / E[x].
    """
    check("hedge", hedge.mean, "0, or at least 0.001 in the mean, for the long run", hedge.mean >= 1e-3)
    kept = max(1 - hedge.mean, 0.0)
    steps = 1 if kept == 0 else int(np.ceil(np.log(CONVERGENCE_TOLERANCE) / np.log(kept)))
    mean_size = flow @ np.abs(np.arange(flow.size) - flow.size // 2)
    return steps, float(mean_size * kept**steps)


def _grid_half_width(flow: FloatArray, hedge: Discrete, steps: int) -> int:
    """Return the half-width of the grid in whole units: the support of z, or HALF_WIDTH standard deviations if less."""
    largest = flow.size // 2
    net = np.arange(-largest, largest + 1)
    drift, square = flow @ net, flow @ net**2
    x, probability = hedge
    kept, kept_square = probability @ (1 - x), probability @ (1 - x) ** 2
    mean, second, farthest = 0.0, 0.0, 0.0
    for _ in range(steps):
        second = kept_square * second + 2 * kept * mean * drift + square
        mean = kept * mean + drift
        farthest = max(farthest, abs(mean) + HALF_WIDTH * np.sqrt(max(second - mean**2, 0.0)))
    support = (largest + 1) / max(x.min(), 1 / steps)
    return int(np.ceil(min(farthest + largest, support))) + 1


def _append_loss(best: FloatArray) -> FloatArray:
    """Append the probability of not quoting the best price to P[tied for it with k - 1 others], k = 1, 2, ..."""
    return np.append(best, max(1 - best.sum(), 0.0))
