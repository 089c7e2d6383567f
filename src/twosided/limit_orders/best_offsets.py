"""Optimal offsets of one step of the limit-order market, on both sides together, with a certified bound.

In units of 1/k let y = kδ, L = log(A Δ) and p(y) = 1 - exp(-e^{L - y}), the fill probability. With a and d the gain of
a fill on the bid and on the ask, and c the gain if both fill instead of one, a step earns

    J(y_b, y_a) = p_b (y_b + a) + p_a (y_a + d) + c p_b p_a

on the set of y within the bounds on offsets, and p = 0 for no order.

One side. p (y + net) is strictly concave in p. With u = L - y = log x its maximum is the root of

    (e^x - 1)/x + log x = L + net

whose left side is increasing and convex in u. Newton's method from a point on the right of the root is monotone, and
nothing overflows because x is at most log t + log log t + 1 for t = L + net. The bounds on y clip the root, and no
order is better if the maximum is negative.

Both sides. -d²(p y)/dp² is at least 4.4, so if |c| < 4.4 then J is strictly concave on p >= 0, and alternating best
responses that stay below the largest y find its maximum. Otherwise, J has increasing differences in (p_b, p_a) if
c > 0, and in (p_b, -p_a) if c < 0. Alternating best responses from either end of one side are therefore monotone and
enclose every fixed point, so every maximiser (Topkis 1998, section 4.2). The interval between them is searched by
branch and bound: the best response of the ask makes J a function of p_b alone,

    p_b (y_b + a) + H(d + c p_b),    H(net) = max over y of p(y) (y + net)

the sum of a concave function and a convex one. On a subinterval the chord of the convex part is above it, and the
concave function that results has its maximum in closed form as above. Subintervals are split until no bound exceeds
the best value found by more than a tolerance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact

MAX_ITERATIONS = 100
"""Largest number of alternating best responses, and of Newton steps; both take far fewer unless the sides are nearly
degenerate, and the bounds hold for any number."""
MAX_ROUNDS = 200
"""Largest number of rounds of branch and bound, which halve the intervals."""
MAX_INTERVALS = 10**6
"""Largest number of open intervals of branch and bound."""
CONVERGED = 1e-13
"""Change of y at which alternating best responses have converged."""
LEAST_CURVATURE = 4.4
"""The smallest of -d²(p y)/dp² = e^x (1 + x + (x - 1) e^x) / x² over x > 0 is 4.406, at x = 0.578."""
TOLERANCE = 1e-12
"""Largest distance of a step's value from its bound, in units of 1/k; the rounding of the terms of J is added."""


@dataclass(frozen=True, eq=False)
class BestOffsets:
    """Optimal pair of orders in each state, in units of 1/k."""

    bid: FloatArray
    """y_b; infinite for no order."""
    ask: FloatArray
    """y_a; infinite for no order."""
    error: FloatArray
    """Bound on how much more any pair of orders could earn."""


@dataclass(frozen=True)
class StepProblem:
    """Maximisation of J in many states at once."""

    log_rate: float
    """L, log of the expected number of orders of a step that reach the midprice."""
    low: float
    """Smallest y."""
    high: float
    """Largest y of an order; below `low` if no order is possible."""

    def fill_probability(self, y: FloatArray) -> FloatArray:
        """Return p(y)."""
        with np.errstate(over="ignore"):
            return -np.expm1(-np.exp(self.log_rate - y))

    def response(
        self, net: FloatArray, allowed: NDArray[np.bool_], guess: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the y that maximises p (y + net), its p, and the maximum H(net); y is infinite for no order.

        `guess` is near the answer, for speed.
        """
        y = np.minimum(np.maximum(self.stationary(net, guess), self.low), self.high)
        p = self.fill_probability(y)
        earned = p * (y + net)
        order = allowed & (earned > 0)
        return np.where(order, y, np.inf), np.where(order, p, 0.0), np.where(order, earned, 0.0)

    def solve(
        self,
        bid_gain: FloatArray,
        ask_gain: FloatArray,
        interaction: FloatArray,
        may_buy: NDArray[np.bool_],
        may_sell: NDArray[np.bool_],
    ) -> BestOffsets:
        """Return the maximiser of J for a, d and c in each state, where orders on each side are allowed.

        Raises NotExact if branch and bound does not end.
        """
        if not self.low <= self.high:
            may_buy, may_sell = np.zeros_like(may_buy), np.zeros_like(may_sell)
        joint = _Joint(self, bid_gain, ask_gain, interaction, may_buy, may_sell)
        bid, ask, converged = joint.alternate(np.zeros_like(bid_gain))
        # The curvature of each side outweighs the interaction: J is strictly concave on p >= 0, where bounds on p
        # are not binding from below, and its only fixed point is the maximum.
        concave = converged & (np.abs(interaction) < LEAST_CURVATURE)
        concave &= ((bid < self.high) | ~may_buy) & ((ask < self.high) | ~may_sell)
        if (others := np.flatnonzero(~concave)).size:
            bid[others], ask[others] = joint.at(others).search(bid[others])
        return BestOffsets(bid, ask, joint.tolerance)

    def stationary(self, net: FloatArray, guess: FloatArray | None = None) -> FloatArray:
        """Return L - u for the root u, by Newton's method from the right; from the left its first step is not to the
        left of the root."""
        target = self.log_rate + net
        safe = np.log(np.maximum(target, np.e))
        right = np.minimum(target - 1, np.where(target > np.e, np.log(safe + np.log(safe) + 1), np.inf))
        u = right
        if guess is not None:
            u = np.where(np.isfinite(guess), np.minimum(right, self.log_rate - guess), right)
        for _ in range(MAX_ITERATIONS):
            x = np.maximum(np.exp(u), 1e-300)
            rise = np.expm1(x)
            ratio = rise / x
            after = np.minimum(u - (ratio + u - target) / (2 + rise - ratio), right)
            change, u = np.abs(after - u), after
            # The error is of the order of the square of the last change.
            if (change <= 1e-9 * np.maximum(np.abs(u), 1.0)).all():
                break
        return self.log_rate - u


@dataclass(frozen=True)
class _Joint:
    """J in every state."""

    problem: StepProblem
    bid_gain: FloatArray
    ask_gain: FloatArray
    interaction: FloatArray
    may_buy: NDArray[np.bool_]
    may_sell: NDArray[np.bool_]

    @property
    def largest_sales(self) -> FloatArray:
        """Fill probability of the nearest ask."""
        nearest = np.full_like(self.ask_gain, self.problem.low)
        return np.where(self.may_sell, self.problem.fill_probability(nearest), 0.0)

    @property
    def tolerance(self) -> FloatArray:
        """Largest distance of the value from its bound: TOLERANCE, and the rounding of the terms."""
        scale = np.abs(self.bid_gain) + np.abs(self.ask_gain) + np.abs(self.interaction)
        return TOLERANCE + 16 * np.finfo(float).eps * scale

    def alternate(self, sells: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Return y_b and y_a after alternating best responses from fill probabilities of the ask, and where they have
        converged."""
        problem, ask = self.problem, None
        bid = problem.response(self.bid_gain + self.interaction * sells, self.may_buy)[0]
        converged = np.zeros_like(self.may_buy)
        for _ in range(MAX_ITERATIONS):
            before, buys = bid, problem.fill_probability(bid)
            ask, sells, _ = problem.response(self.ask_gain + self.interaction * buys, self.may_sell, ask)
            bid = problem.response(self.bid_gain + self.interaction * sells, self.may_buy, bid)[0]
            with np.errstate(invalid="ignore"):
                near = np.abs(bid - before) <= CONVERGED * np.maximum(np.abs(bid), 1.0)
            converged = near | (bid == before)
            if converged.all():
                break
        assert ask is not None
        return bid, ask, converged

    def search(self, from_no_order: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return y_b and y_a of the optimum, given the alternating best responses from an ask without an order.

        Raises NotExact if branch and bound does not end.
        """
        runs = np.stack([from_no_order, self.alternate(self.largest_sales)[0]])
        value = self.value(runs)
        better, states = value.argmax(0), np.arange(runs.shape[1])
        bid, best = runs[better, states], value[better, states]
        found = bid.copy()
        self.branch_and_bound(runs.min(0), runs.max(0), found, best)
        if (changed := np.flatnonzero(found != bid)).size:
            # Best responses to the bid that the search found agree with each other to rounding, and earn no less.
            part = self.at(changed)
            polished = part.alternate(part.answer(found[changed])[1])[0]
            bid[changed] = np.where(part.value(polished) >= best[changed], polished, found[changed])
        return bid, self.answer(bid)[0]

    def answer(self, bid: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the best response of the ask: y_a, p_a and H."""
        buys = self.problem.fill_probability(bid)
        return self.problem.response(self.ask_gain + self.interaction * buys, self.may_sell)

    def value(self, bid: FloatArray) -> FloatArray:
        """Return the largest J of each bid."""
        buys = self.problem.fill_probability(bid)
        with np.errstate(invalid="ignore"):
            earned = np.where(buys > 0, buys * (bid + self.bid_gain), 0.0)
        return earned + self.answer(bid)[2]

    def at(self, states: NDArray[np.intp]) -> "_Joint":
        """Return the part for some of the states, in any order."""
        return _Joint(
            self.problem,
            self.bid_gain[states],
            self.ask_gain[states],
            self.interaction[states],
            self.may_buy[states],
            self.may_sell[states],
        )

    def branch_and_bound(self, start: FloatArray, end: FloatArray, bid: FloatArray, best: FloatArray) -> None:
        """Improve `bid` and `best` in place by a search of start <= y_b <= end, to within the tolerance.

        Raises NotExact if the search does not end.
        """
        tolerance = self.tolerance
        # No order was among the two runs if it is an end of the interval; orders end at `high`.
        states = np.flatnonzero((end > start) & np.isfinite(start))
        low, high = start[states], np.minimum(end[states], self.problem.high)
        for _ in range(MAX_ROUNDS):
            if not states.size:
                return
            if states.size > MAX_INTERVALS:
                break
            here = self.at(states)
            middle, bound = here.bound(low, high)
            value = here.value(middle)
            order = np.argsort(value, kind="stable")  # the last of a state's assignments is its largest
            improved = order[value[order] > best[states[order]]]
            bid[states[improved]], best[states[improved]] = middle[improved], value[improved]
            still_open = bound > best[states] + tolerance[states]
            states = states[still_open]
            low, high, middle = (x[still_open] for x in (low, high, middle))
            # Bounds are exact at the ends: an interior maximum of the bound is where to split.
            inside = (middle - low > 0.1 * (high - low)) & (high - middle > 0.1 * (high - low))
            middle = np.where(inside, middle, low + (high - low) / 2)
            wide = (low < middle) & (middle < high)  # otherwise no float64 lies between the ends
            states = states[wide]
            low, high, middle = (x[wide] for x in (low, high, middle))
            states = np.concatenate((states, states))
            low, high = np.concatenate((low, middle)), np.concatenate((middle, high))
        raise NotExact(
            "the optimum of quotes could not be certified: the sides of a step depend too strongly on each other"
        )

    def bound(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the maximiser of an upper bound of J on low <= y_b <= high, and the bound."""
        near, far = (self.problem.fill_probability(y) for y in (low, high))  # near >= far
        after_near, after_far = (
            self.problem.response(self.ask_gain + self.interaction * p, self.may_sell)[2] for p in (near, far)
        )
        wide = near > far
        slope = np.divide(after_near - after_far, near - far, out=np.zeros_like(near), where=wide)
        base = np.where(wide, after_far - slope * far, np.maximum(after_near, after_far))
        y = np.clip(self.problem.stationary(self.bid_gain + slope), low, high)
        p = self.problem.fill_probability(y)
        return y, p * (y + self.bid_gain + slope) + base
