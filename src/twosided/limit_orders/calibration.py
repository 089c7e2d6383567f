"""Calibration of the fill model and of volatility from bars.

An order at a fraction δ of the close fills in the next bar with probability 1 - exp(-A exp(-k δ)): the deepest
price that a bar reaches on one side is then a Gumbel variable (twosided.limit_orders.fills). At offsets δ_1 < ... <
δ_J a bar fills exactly the first m of them with probability

    P_m = S_{m+1} - S_m,    S_j = exp(-A exp(-k δ_j)),  S_0 = 0 and S_{J+1} = 1

so the counts of bars by m are multinomial, whatever a bar does between two offsets. The likelihood is maximised
over log A and log k. Standard errors come from the information, I = N Σ_m ∂P_m ∂P_mᵀ / P_m, which assumes that bars
and sides are independent. Volatility clusters, and then they are not: robust errors assume that K blocks of consecutive
bars are independent, I⁻¹ K / (K - 1) Σ_b s_b s_bᵀ I⁻¹ with s_b the score of a block, and have K - 1 degrees of freedom.
By default there are 10 blocks. A block must be much longer than a cluster of volatility, which lasts for hundreds of
bars, so few long blocks with Student's quantile cover better than a length estimated from the bars. Both sides share
one distribution unless only one side is asked for.

The exponential model is an assumption. The fit compares it with the data: observed and fitted shares at each
offset, and Pearson's χ². Where volatility clusters, distant offsets fill more often than the model predicts, so
choose offsets close to those that will be quoted. Time is in bars, offsets are fractions of the close.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from twosided.core.errors import Refusal
from twosided.core.numeric import FloatArray
from twosided.core.validation import check
from twosided.data.bars import Bars
from twosided.limit_orders.fills import BarFill, TradeThroughFill
from twosided.limit_orders.policies import AvellanedaStoikov, GueantLehalleFernandezTapia

Side = Literal["both", "bid", "ask"]


BLOCKS = 10
"""Default number of blocks of the robust errors."""


class FillsError(Refusal):
    """One sentence on why the fill model cannot be fitted."""


@dataclass(frozen=True)
class FillsFit:
    """Fitted A, k and σ with standard errors and a goodness of fit."""

    intensity: float
    """A, fills per bar of an order at the close."""
    decay: float
    """k, per fraction of the close: 10,000 is a factor e per basis point."""
    volatility: float
    """σ, volatility of the close, as a fraction of it per square root of a bar."""
    standard_errors: dict[str, float]
    """Standard errors of intensity, decay and volatility, assuming independent bars."""
    robust_errors: dict[str, float]
    """The same, assuming independent blocks of bars."""
    robust_dof: int
    """Degrees of freedom of the robust errors: the number of blocks less one. A 95% interval has Student's quantile."""
    offsets: FloatArray
    """Offsets from the close, as fractions of it."""
    observed: FloatArray
    """Share of bars that filled an order at each offset."""
    fitted: FloatArray
    """The same by the fitted model."""
    bars: int
    """Number of pairs of a bar and the one right after it."""
    chi_square: float
    p_value: float
    """p-value of Pearson's χ², assuming independent bars."""

    def avellaneda_stoikov(self, risk_aversion: float, horizon: float) -> AvellanedaStoikov:
        """Return the quotes with these σ and k; risk aversion per fraction of the price, horizon in bars."""
        return AvellanedaStoikov(risk_aversion, self.volatility, self.decay, horizon)

    def gueant_lehalle_fernandez_tapia(self, risk_aversion: float) -> GueantLehalleFernandezTapia:
        """Return the quotes with these σ, A and k; risk aversion per fraction of the price."""
        return GueantLehalleFernandezTapia(risk_aversion, self.volatility, self.intensity, self.decay)


def fit_fills(
    bars: Bars,
    offsets: ArrayLike | Sequence[float] | None = None,
    rule: BarFill | None = None,
    side: Side = "both",
    block: int | None = None,
    seed: int = 0,
) -> FillsFit:
    """Fit the fill model to bars. Raises FillsError where the bars do not identify it.

    Without offsets, nine that up to 90% and down to 2% of the bars reach. `rule` decides what fills, by default
    what the price goes through; `block` is the number of bars of a block, by default a tenth of them; `seed`
    decides what the rule leaves to chance.
    """
    if block is not None:
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
    log_parameters = _maximise(counts, grid)
    law = np.exp(log_parameters)
    probabilities, slopes = _multinomial(log_parameters, grid)

    total = counts.sum()
    inverse = np.linalg.inv(total * (slopes / probabilities) @ slopes.T)
    scores = np.sum([(slopes / probabilities)[:, depth] for depth in depths], axis=0)
    num_blocks = BLOCKS if block is None else max(number // block, 2)
    robust = inverse @ _block_squares(scores, num_blocks) @ inverse
    changes = np.diff(bars.price.close)[follows] / bars.price.close[:-1][follows]
    squares = np.square(changes)
    volatility = np.sqrt(squares.mean())
    influence = (squares - squares.mean()) / (2 * number * (volatility or 1.0))
    plain = {"volatility": float(np.sqrt(np.square(influence).sum()))}
    blocks = {"volatility": float(np.sqrt(_block_squares(influence[None], num_blocks)[0, 0]))}
    for i, name in enumerate(("intensity", "decay")):
        plain[name] = float(law[i] * np.sqrt(inverse[i, i]))
        blocks[name] = float(law[i] * np.sqrt(robust[i, i]))
    chi_square = float((np.square(counts - total * probabilities) / (total * probabilities)).sum())
    return FillsFit(
        intensity=float(law[0]),
        decay=float(law[1]),
        volatility=float(volatility),
        standard_errors=plain,
        robust_errors=blocks,
        robust_dof=num_blocks - 1,
        offsets=grid,
        observed=np.mean([each.mean(0) for each in filled], axis=0),
        fitted=1 - np.cumsum(probabilities)[:-1],
        bars=number,
        chi_square=chi_square,
        p_value=float(stats.chi2.sf(chi_square, grid.size - 2)),
    )


def check_offsets(offsets: ArrayLike | Sequence[float]) -> None:
    """Raise ValueError for offsets that the model cannot be fitted to."""
    grid = np.asarray(offsets, float)
    increasing = grid.ndim == 1 and grid.size > 2 and bool((np.diff(grid) > 0).all()) and grid[-1] < 1
    check("offsets", grid, "at least three increasing fractions of the price, below 1", increasing)


def _reach(bars: Bars, side: str, offsets: FloatArray) -> FloatArray:
    """How far the next bar went through an order, as a fraction of the order's price, (bars, offsets)."""
    close = bars.price.close[:-1, None]
    if side == "bid":
        order, reached = close * (1 - offsets), (bars.ask or bars.price).low[1:, None]
        return (order - reached) / order
    order, reached = close * (1 + offsets), (bars.bid or bars.price).high[1:, None]
    return (reached - order) / order


def _filled(bars: Bars, side: str, offsets: FloatArray, rule: BarFill, seed: int) -> NDArray[np.bool_]:
    """Whether an order fills, (bars, offsets); one draw per bar, so an order nearer to the close fills with a
    distant one."""
    shock = rule.shocks(jax.random.key(seed), (len(bars) - 1, 1))
    shock = None if shock is None else np.asarray(shock, float)
    through: Any = _reach(bars, side, offsets)
    return np.asarray(rule.filled(shock, through), bool)


def _grid(bars: Bars, sides: Sequence[str]) -> FloatArray:
    """Offsets from one that 90% of the bars reach to one that 2% reach."""
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


def _multinomial(log_parameters: FloatArray, offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P_m and its derivatives in log A and log k."""
    rate = np.exp(log_parameters[0] - np.exp(log_parameters[1]) * offsets)
    missed = np.exp(-rate)
    slope = missed * rate * np.stack([-np.ones_like(offsets), np.exp(log_parameters[1]) * offsets])
    ends = np.pad(slope, ((0, 0), (1, 1)))
    return np.maximum(np.diff(np.concatenate([[0.0], missed, [1.0]])), 1e-300), np.diff(ends, axis=1)


def _maximise(counts: FloatArray, offsets: FloatArray) -> FloatArray:
    """Maximum-likelihood log A and log k."""

    def negative(log_parameters: FloatArray) -> tuple[Any, FloatArray]:
        probabilities, slopes = _multinomial(log_parameters, offsets)
        return -counts @ np.log(probabilities), -(slopes / probabilities) @ counts

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


def _block_squares(scores: FloatArray, number: int) -> FloatArray:
    """Return K / (K - 1) Σ_b s_b s_bᵀ with s_b the sum of a block's scores, for K blocks of equal length."""
    starts = np.arange(number) * scores.shape[1] // number
    sums = np.add.reduceat(scores, starts, axis=1)
    return number / (number - 1) * (sums @ sums.T)
