"""Optimum of a risk-averse market maker, by dynamic programming over its inventory.

With a penalty on inventory PnL (Ganesh et al. 2019, section 5.2) the optimal action depends on the inventory z and on
the exchange's book, which is observed before acting. Backward induction over an episode of H steps, with V_H = 0, gives

    V_t = T V_{t+1},    value = V_0(0) / H,    gain = lim (V_t - V_{t+1})

where T is the Bellman operator of bellman.py. The value is the supremum over all policies, including those with a
state, because books, orders and moves of the midprice are independent from step to step and the competitor's
distributions are fixed.

Sources of error, each reported in `OptimumErrors`:

    book        E_book is a mean over independently scrambled Sobol' sets of books, with a separate program for each
                set. Only the effect of the penalty is estimated from them: the supremum of Theorem 1 for the same books
                is subtracted, and that for a large sample of books is added. The scatter of the sets gives the standard
                error.
    truncation  Beyond the grid a lower program hedges all of the inventory at once, and an upper program earns the
                maximal reward in every remaining step. The supremum lies between their values.
    hedge       Hedges are multiples of the grid step. A finer grid allows more hedges, so the value is a lower bound.
                The gain from the last doubling of `refinement` is reported as the error. It is an estimate: from
                refinement 4 on, each doubling gained less than half as much as the previous one in all cases tested
                (see the tests); the doubling from 2 to 4 may gain as much as that from 1 to 2.
    epsilon     Quotes on the uniform parts of a distribution are on a grid (bellman.py); 0 against constants.
    mid         The midprice is held at P_0. Spread PnL and hedge costs are proportional to P_t, a martingale. The
                change of measure with density P_t / P_0 leaves everything else unchanged: the asymmetric penalty is
                proportional to P_t too, and its value is exact. InvPnL² is proportional to P_t², so that α effectively
                varies as L_t := P_t / P_0. A maker that knew L, the smallest L_t of the episode, could do no better
                than with α L throughout. The value V(α) is convex, so this is at most L V(α) + (1 - L) V(0), and
                E[1 - L] <= σ √(2 H Δ / π). From below, the policy for P_0 loses at most
                (exp(σ² H Δ) - 1)(V(0) - V(α)), which is smaller.

Units: inventory in units of trade, values in currency per step.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.dealer.exact.bellman import BellmanOperator, BookSample, QuotePairs, RiskPenalty
from twosided.dealer.exact.best_response import best_response
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.exact.greedy_policy import GreedyPolicy, SkewCurve, evaluate_greedy
from twosided.dealer.exact.hedge_cost import net_flow_distribution
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl
from twosided.dealer.exact.total_pnl import fixed_maker, require_dealer_market
from twosided.dealer.investors import UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import RandomQuoter
from twosided.prices import GeometricBrownian, PriceState
from twosided.rewards import AsymmetricPenalty, SquarePenalty

CONVERGENCE_TOLERANCE = 1e-12
"""Span of an increment V_t - V_{t+1} over the grid, relative to max |V_t|, at which backward induction converges."""
MAX_STEPS = 10_000
"""Largest number of steps of backward induction, unless the horizon is longer."""


@dataclass(frozen=True, kw_only=True)
class OptimumErrors:
    """Errors of the value by source, in currency per step; see the docstring of the module."""

    book: float
    """Standard error of the expectation over books."""
    truncation: float
    """Bound on the gain from inventories beyond the grid."""
    hedge: float
    """Estimate of the gain from finer hedges."""
    epsilon: float
    """Bound on the gain from quotes between those of the grid."""
    mid: float
    """Two-sided bound on the effect of holding the midprice at P_0."""

    @property
    def bound(self) -> float:
        """Sum of all errors except the standard error `book`."""
        return self.truncation + self.hedge + self.epsilon + self.mid


@dataclass(frozen=True, eq=False, kw_only=True)
class PenalizedOptimum:
    """Supremum of the reward of a scenario, and a policy that attains or approaches it."""

    value: float
    """Supremum of the mean reward per step over an episode that starts without inventory, in currency."""
    gain: float
    """Supremum of the long-run mean reward per step, in currency."""
    errors: OptimumErrors
    """Errors of the value."""
    attained: bool
    """Whether a policy attains the supremum; false if an optimal quote has to undercut an atom of the competitor."""
    stationary_value: float
    """Mean reward per step over an episode of the stationary policy that is optimal in the long run, in currency."""
    inventory_mean: float
    """Mean inventory after a step under the stationary policy, in units."""
    inventory_std: float
    """Standard deviation of the inventory after a step under the stationary policy, in units."""
    curve: SkewCurve
    """Quotes and hedges of the stationary policy by inventory."""
    policy: GreedyPolicy
    """Stationary policy, for the simulator."""


def penalized_optimum(
    scenario: Scenario,
    *,
    max_inventory: int | None = None,
    refinement: int = 4,
    points: int = 64,
    replicates: int = 8,
    epsilon_cells: int = 16,
) -> PenalizedOptimum:
    """Return the supremum of the learner's TotalPnL, SquarePenalty or AsymmetricPenalty per step.

    The scenario has one competitor that quotes from fixed distributions, uninformed unit investors, and a geometric
    Brownian midprice without drift. The inventory grid covers up to `max_inventory` units (default: six times the
    orders per step) in steps of 1 / `refinement`. Each of the `replicates` has `points` books, a power of two.
    `epsilon_cells` is the number of cells of each uniform part of the competitor's distributions.

    Raises NotExact for other scenarios and ValueError for an invalid argument.
    """
    market, price, flow = _require_supported(scenario)
    maker, orders, horizon = _competitor(scenario), flow.count, scenario.horizon
    max_inventory = 6 * orders if max_inventory is None else max_inventory
    at_least = f"at least the orders per step ({orders})"
    check("max_inventory", max_inventory, at_least, max_inventory >= orders)
    check("refinement", refinement, "even and at least 2", refinement >= 2 and refinement % 2 == 0)
    check("replicates", replicates, "at least 2", replicates >= 2)
    check("epsilon_cells", epsilon_cells, "at least 1", epsilon_cells >= 1)

    mid, penalty = float(price.initial), _risk_penalty(scenario.reward, price)
    quotes = QuotePairs.against(maker.buy, maker.sell, epsilon_cells)
    sizes = np.arange(max_inventory * refinement + 1) / refinement
    books = BookSample.sample(market.book, mid, float(market.hedge_cost), sizes, points, replicates)
    half = books.every_other_size()
    fine = BellmanOperator(quotes, books, penalty, orders, max_inventory, refinement)
    coarse = BellmanOperator(quotes, half, penalty, orders, max_inventory, refinement // 2)
    solution, coarse_solution = _backward_induction(fine, horizon), _backward_induction(coarse, horizon)
    upper_bound = _upper_bound(fine, horizon)

    # Supremum of Theorem 1 without the penalty, for a large sample of books and for the books of each replicate.
    margin = best_response(maker.buy).supremum + best_response(maker.sell).supremum
    spread_pnl = margin * orders / 2 * mid * expected_costs(market.book, [1.0])[:, 0]
    sample_spread_pnl = margin * orders / 2 * books.order_value.mean(-1)
    penalty_effect = solution.value - sample_spread_pnl
    unpenalized, value = float(spread_pnl.mean()), float(spread_pnl.mean() + penalty_effect.mean())
    evaluation = evaluate_greedy(fine, solution.relative_value, horizon)
    return PenalizedOptimum(
        value=value,
        gain=float(unpenalized + (solution.gain - sample_spread_pnl).mean()),
        errors=OptimumErrors(
            book=float(np.hypot(_standard_error(spread_pnl), _standard_error(penalty_effect))),
            truncation=max(float((upper_bound - solution.value).mean()), 0.0),
            hedge=max(float((solution.value - coarse_solution.value).mean()), 0.0),
            epsilon=solution.epsilon_error,
            mid=_drawdown_bound(price, horizon) * (unpenalized - value) if penalty.quadratic else 0.0,
        ),
        attained=evaluation.limit_probability == 0,
        stationary_value=evaluation.value + unpenalized - float(sample_spread_pnl.mean()),
        inventory_mean=evaluation.inventory_mean,
        inventory_std=evaluation.inventory_std,
        curve=evaluation.curve,
        policy=GreedyPolicy.from_value(fine, solution.relative_value, mid, market),
    )


def penalized_value(scenario: Scenario, policy: Policy) -> float:
    """Return the mean reward per step of a policy with fixed distributions and no hedging, in currency.

    Exact for TotalPnL, SquarePenalty and AsymmetricPenalty over an episode, including the moves of the midprice, except
    that E[S_ref(1)] is estimated from a large sample of books. There may be any number of competitors with fixed
    distributions. Raises NotExact for other scenarios.
    """
    market, price, flow = _require_supported(scenario)
    policies = (policy, *scenario.competitors)
    _require_independent_sides(*policies)
    makers = [fixed_maker(other) for other in policies]
    if makers[0].hedge.support[1] > 0:
        raise NotExact("the exact mean reward needs a maker that never hedges")
    net_flow = net_flow_distribution(makers, 0, investors=flow.count)
    penalty = _risk_penalty(scenario.reward, price)
    # E[P_t²] / P_0² for InvPnL²; E[P_t] / P_0 = 1 for a penalty proportional to the midprice.
    growth = np.exp((_variance(price) if penalty.quadratic else 0.0) * np.arange(scenario.horizon))
    distribution, total_penalty = np.ones(1), 0.0
    for each in growth:
        distribution = np.convolve(distribution, net_flow)
        inventory = np.arange(distribution.size, dtype=float) - distribution.size // 2
        total_penalty += float(each * (distribution @ penalty(inventory)))
    value_per_side = float(price.initial) * flow.count / 2 * float(expected_costs(market.book, [1.0]).mean())
    return float(expected_spread_pnl(makers, value_per_side)[0]) + total_penalty / scenario.horizon


@dataclass(frozen=True, eq=False)
class _Solution:
    """Solution of the lower program, which hedges all inventory beyond the grid; one entry per replicate."""

    value: FloatArray
    """V_0(0) / H."""
    gain: FloatArray
    relative_value: FloatArray
    """h(z) = V(z) - V(0) on the extended grid, averaged over replicates."""
    epsilon_error: float
    """Error bound of the grid of ε, per step."""


def _backward_induction(operator: BellmanOperator, horizon: int) -> _Solution:
    """Iterate to the horizon or to convergence, whichever is later; converged increments are extrapolated."""
    zero, cost = operator.max_inventory * operator.refinement, _liquidation_cost(operator)
    value = at_horizon = np.zeros((len(cost), operator.grid.size))
    increment, epsilon_error = np.zeros_like(value), 0.0
    for step in range(max(MAX_STEPS, horizon)):
        following, error = operator.apply(_extend(operator, value, value[:, [zero]] - cost))
        increment, value = following - value, following
        converged = np.ptp(increment, axis=-1).max() <= CONVERGENCE_TOLERANCE * np.abs(value).max()
        if step < horizon:
            steps = horizon - step if converged else 1
            at_horizon, epsilon_error = at_horizon + steps * increment, epsilon_error + steps * error
        if converged:
            break
    relative_value = _extend(operator, value, value[:, [zero]] - cost) - value[:, [zero]]
    return _Solution(
        value=at_horizon[:, zero] / horizon,
        gain=increment[:, zero],
        relative_value=relative_value.mean(0),
        epsilon_error=epsilon_error / horizon,
    )


def _upper_bound(operator: BellmanOperator, horizon: int) -> FloatArray:
    """Return V_0(0) / H of the upper program, in which steps that start beyond the grid earn the maximal reward."""
    max_reward = operator.max_reward()
    value = np.zeros((len(max_reward), operator.grid.size))
    outside = np.zeros((len(max_reward), operator.extended_grid.size))
    for step in range(horizon):
        value = operator.apply(_extend(operator, value, outside + step * max_reward[:, None]))[0]
    return value[:, operator.max_inventory * operator.refinement] / horizon


def _liquidation_cost(operator: BellmanOperator) -> FloatArray:
    """Return an upper bound of the mean cost of hedging all inventory, on the extended grid; 0 without a penalty."""
    volume, books = np.abs(operator.extended_grid), operator.books
    if operator.penalty == RiskPenalty():
        return np.zeros((len(books.order_value), volume.size))
    mean = books.hedge_cost.mean(1)
    outside = np.maximum(volume - operator.max_inventory, 0.0) * books.last_price.mean(-1)[:, None]
    inside = np.minimum(np.rint(volume * operator.refinement).astype(int), books.sizes.size - 1)
    return mean[:, inside] + outside


def _extend(operator: BellmanOperator, value: FloatArray, outside: FloatArray) -> FloatArray:
    """Extend a value on the grid by the values of `outside`, which is given on the extended grid."""
    pad = operator.num_orders * operator.refinement
    return np.concatenate([outside[:, :pad], value, outside[:, -pad:]], -1)


def _risk_penalty(reward: Reward, price: GeometricBrownian) -> RiskPenalty:
    """Return φ at P_0."""
    with jax.enable_x64(True):
        change = price.change_moments(PriceState(jnp.asarray(float(price.initial), jnp.float64)))
    if isinstance(reward, TotalPnL):
        return RiskPenalty()
    if isinstance(reward, SquarePenalty):
        return RiskPenalty(quadratic=float(reward.weight) * float(change.mean_square))
    if isinstance(reward, AsymmetricPenalty):
        weight, downside = float(reward.weight), float(change.downside)
        return RiskPenalty(long=weight * downside, short=weight * float(change.mean - change.downside))
    raise NotExact(f"no exact optimum is known for the reward {type(reward).__name__}")


def _require_supported(scenario: Scenario) -> tuple[DealerMarket, GeometricBrownian, UnitInvestors]:
    """Return the market and its price and flow. Raises NotExact if they are not supported."""
    market = require_dealer_market(scenario)
    price, flow = market.price, market.flow
    if not isinstance(price, GeometricBrownian) or float(price.drift) != 0:
        raise NotExact("dynamic programming over inventory needs a geometric Brownian midprice without drift")
    if not isinstance(flow, UnitInvestors) or flow.lookahead > 0 or flow.tiers > 1:
        raise NotExact("dynamic programming over inventory needs uninformed unit investors in a single tier")
    return market, price, flow


def _competitor(scenario: Scenario) -> FixedMaker:
    """Return the distributions of the competitor. Raises NotExact if there is not exactly one."""
    if scenario.learners != 1 or len(scenario.competitors) != 1:
        raise NotExact("dynamic programming over inventory needs one learner and one competitor")
    _require_independent_sides(*scenario.competitors)
    return fixed_maker(scenario.competitors[0])


def _require_independent_sides(*policies: Policy) -> None:
    if any(isinstance(policy, RandomQuoter) and policy.symmetric for policy in policies):
        raise NotExact("dynamic programming over inventory needs makers that draw ε_b and ε_s independently")


def _variance(price: GeometricBrownian) -> float:
    """Variance of the log return of a step, σ² Δ."""
    return float(price.volatility) ** 2 * float(price.time_step)


def _drawdown_bound(price: GeometricBrownian, horizon: int) -> float:
    """Bound on E[1 - min_t P_t / P_0] over an episode: σ √(2 H Δ / π)."""
    return float(np.sqrt(2 * _variance(price) * horizon / np.pi))


def _standard_error(x: FloatArray) -> float:
    return float(x.std(ddof=1) / np.sqrt(x.size))
