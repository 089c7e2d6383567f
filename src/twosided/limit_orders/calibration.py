"""How fast the chance of a fill falls with the distance from the mid, and how volatile the mid is, from bars.

An order at a fraction δ of the close fills in the next bar with probability 1 - exp(-A exp(-k δ)): the deepest price
that a bar reaches on one side is then a Gumbel variable (twosided.limit_orders.fills). At offsets δ_1 < ... <
δ_J a bar fills the
first m of them, and no more, with probability

    P_m = S_{m+1} - S_m,    S_j = exp(-A exp(-k δ_j)),  S_0 = 0 and S_{J+1} = 1

so that counts of bars by m are multinomial, whatever a bar does between two offsets. The likelihood is maximised over
log A and log k. Standard errors come from the information, I = N Σ_m ∂P_m ∂P_mᵀ / P_m, which takes bars and sides for
independent. Volatility clusters, and then they are not: robust ones take blocks of bars for independent instead
(I⁻¹ Σ_b s_b s_bᵀ I⁻¹, s_b the score of a block). Both sides share one law unless only one is asked for.

The law is an assumption, which the fit holds against what the bars did: observed and fitted shares, offset by offset,
and Pearson's χ². Where volatility clusters, far offsets fill more often than it says: choose offsets as near as
those that are to be quoted. Time is in bars, offsets are fractions of the close.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from twosided.core.errors import Refusal
from twosided.core.validation import check
from twosided.data.bars import Bars
from twosided.limit_orders.fills import BarFill, TradeThroughFill
from twosided.limit_orders.policies import AvellanedaStoikov, GueantLehalleFernandezTapia

Array = NDArray[np.float64]
Side = Literal["both", "bid", "ask"]


class FillsError(Refusal):
    """One sentence on why nothing can be said of fills."""


@dataclass(frozen=True)
class FillsFit:
    """A, k and σ with their standard errors, and how well the law holds."""

    intensity: float
    """A, fills a bar of an order at the close."""
    decay: float
    """k, over a fraction of the close: 10,000 is a factor e for each basis point."""
    volatility: float
    """σ of the close, a fraction of it, per square root of a bar."""
    standard_errors: dict[str, float]
    """Of intensity, decay and volatility, bars taken for independent."""
    robust_errors: dict[str, float]
    """The same, blocks of bars taken for independent."""
    offsets: Array
    observed: Array
    """Share of bars that filled an order at each offset."""
    fitted: Array
    bars: int
    """Pairs of a bar and the one right after it."""
    chi_square: float
    p_value: float
    """That bars of this law differ as much from it, if they were independent."""

    def avellaneda_stoikov(self, risk_aversion: float, horizon: float) -> AvellanedaStoikov:
        """The maker with these σ and k; aversion over a fraction of the price, horizon in bars."""
        return AvellanedaStoikov(risk_aversion, self.volatility, self.decay, horizon)

    def gueant_lehalle_fernandez_tapia(self, risk_aversion: float) -> GueantLehalleFernandezTapia:
        """The maker with these σ, A and k; aversion over a fraction of the price."""
        return GueantLehalleFernandezTapia(risk_aversion, self.volatility, self.intensity, self.decay)


def fit_fills(
    bars: Bars,
    offsets: ArrayLike | None = None,
    rule: BarFill | None = None,
    side: Side = "both",
    block: int = 60,
    seed: int = 0,
) -> FillsFit:
    """Fit the law of fills to bars. Raises FillsError where they do not tell.

    Without offsets, nine that up to 90% and down to 2% of the bars reach. `rule` decides what fills, by default what
    the price goes through; `block` is the number of bars of a block, `seed` decides what the rule leaves to chance.
    """
    check("block", block, "at least 1", block >= 1)
    rule = rule or TradeThroughFill()
    sides = [each for each in ("bid", "ask") if side in ("both", each)]
    follows = bars.contiguous[1:]
    number = int(follows.sum())
    if offsets is not None:
        check_offsets(offsets)
    if number < 10:
        raise FillsError(f"fills are fitted to at least 10 bars that follow another, but there are {number}")
    grid = _grid(bars, sides) if offsets is None else np.asarray(offsets, float)
    filled = [_filled(bars, each, grid, rule, seed + i)[follows] for i, each in enumerate(sides)]
    # Nested: what fills far away fills nearer, too.
    depths = [each.sum(1) for each in filled]
    counts = np.bincount(np.concatenate(depths), minlength=grid.size + 1).astype(float)
    if np.count_nonzero(counts) < 3:
        raise FillsError("fills cannot be fitted: nearly all bars reach the same offsets; choose others")
    log_law = _maximise(counts, grid)
    law = np.exp(log_law)
    chances, slopes = _law(log_law, grid)

    total = counts.sum()
    inverse = np.linalg.inv(total * (slopes / chances) @ slopes.T)
    scores = np.sum([(slopes / chances)[:, depth] for depth in depths], axis=0)
    robust = inverse @ _block_squares(scores, block) @ inverse
    changes = np.diff(bars.price.close)[follows] / bars.price.close[:-1][follows]
    squares = np.square(changes)
    volatility = np.sqrt(squares.mean())
    influence = (squares - squares.mean()) / (2 * number * (volatility or 1.0))
    plain = {"volatility": float(np.sqrt(np.square(influence).sum()))}
    blocks = {"volatility": float(np.sqrt(_block_squares(influence[None], block)[0, 0]))}
    for i, name in enumerate(("intensity", "decay")):
        plain[name] = float(law[i] * np.sqrt(inverse[i, i]))
        blocks[name] = float(law[i] * np.sqrt(robust[i, i]))
    chi_square = float((np.square(counts - total * chances) / (total * chances)).sum())
    return FillsFit(
        intensity=float(law[0]),
        decay=float(law[1]),
        volatility=float(volatility),
        standard_errors=plain,
        robust_errors=blocks,
        offsets=grid,
        observed=np.mean([each.mean(0) for each in filled], axis=0),
        fitted=1 - np.cumsum(chances)[:-1],
        bars=number,
        chi_square=chi_square,
        p_value=float(stats.chi2.sf(chi_square, grid.size - 2)),
    )


def check_offsets(offsets: ArrayLike) -> None:
    """Raises ValueError for what nothing can be fitted to."""
    grid = np.asarray(offsets, float)
    increasing = grid.ndim == 1 and grid.size > 2 and bool((np.diff(grid) > 0).all()) and grid[-1] < 1
    check("offsets", grid, "at least three increasing fractions of the price, below 1", increasing)


def _reach(bars: Bars, side: str, offsets: Array) -> Array:
    """[bar, offset]: how far the next bar went through an order, as a fraction of the order's price."""
    close = bars.price.close[:-1, None]
    if side == "bid":
        order, reached = close * (1 - offsets), (bars.ask or bars.price).low[1:, None]
        return (order - reached) / order
    order, reached = close * (1 + offsets), (bars.bid or bars.price).high[1:, None]
    return (reached - order) / order


def _filled(bars: Bars, side: str, offsets: Array, rule: BarFill, seed: int) -> NDArray[np.bool_]:
    """[bar, offset]: whether an order fills; one chance a bar, so that what fills far away fills nearer, too."""
    shock = rule.shocks(jax.random.key(seed), (len(bars) - 1, 1))
    shock = None if shock is None else np.asarray(shock, float)
    through: Any = _reach(bars, side, offsets)
    return np.asarray(rule.filled(shock, through), bool)


def _grid(bars: Bars, sides: Sequence[str]) -> Array:
    """Offsets beyond the close that at most 90% of the bars reach, down to one that a bar in 50 does."""
    reach = np.concatenate([_reach(bars, side, np.zeros(1))[bars.contiguous[1:], 0] for side in sides])
    most = min(0.9, 0.99 * (reach > 0).mean())
    found = np.unique(np.quantile(reach, 1 - np.geomspace(max(most, 0.04), 0.02, 9)))
    # A bid as far away as the price itself is no order.
    grid = found[found < 1]
    if grid.size < 3:
        named = f" ({', '.join(f'{x:.3g}' for x in grid)})" if grid.size else ""
        raise FillsError(
            "fills are fitted to at least 3 offsets below 1, but how far bars go beyond the close before them suggests "
            f"{grid.size}{named}"
        )
    return grid


def _law(log_law: Array, offsets: Array) -> tuple[Array, Array]:
    """P_m, and its slopes in log A and log k."""
    rate = np.exp(log_law[0] - np.exp(log_law[1]) * offsets)
    missed = np.exp(-rate)
    slope = missed * rate * np.stack([-np.ones_like(offsets), np.exp(log_law[1]) * offsets])
    ends = np.pad(slope, ((0, 0), (1, 1)))
    return np.maximum(np.diff(np.concatenate([[0.0], missed, [1.0]])), 1e-300), np.diff(ends, axis=1)


def _maximise(counts: Array, offsets: Array) -> Array:
    """log A and log k of the largest likelihood."""

    def negative(log_law: Array) -> tuple[Any, Array]:
        chances, slopes = _law(log_law, offsets)
        return -counts @ np.log(chances), -(slopes / chances) @ counts

    # A line through log(-log) of the shares that did not fill, where there are both.
    share = 1 - np.cumsum(counts)[:-1] / counts.sum()
    some = (share > 0) & (share < 1)
    if np.count_nonzero(some) < 2:
        raise FillsError("fills cannot be fitted: at most one offset is reached by some bars and not by all")
    slope, level = np.polyfit(offsets[some], np.log(-np.log1p(-share[some])), 1)
    if slope >= 0:
        raise FillsError("fills cannot be fitted: orders further away fill as often as near ones")
    found = optimize.minimize(
        negative, [level, np.log(-slope)], jac=True, method="BFGS", options={"gtol": 1e-6}
    )
    return found.x


def _block_squares(scores: Array, block: int) -> Array:
    """Σ_b s_b s_bᵀ, s_b the sum of a block's scores."""
    ends = np.arange(0, scores.shape[1], block)
    sums = np.add.reduceat(scores, ends, axis=1)
    return sums @ sums.T
