"""The optimum of a maker that is averse to risk, by dynamic programming over its inventory.

With a penalty on inventory PnL (Ganesh et al. 2019, section 5.2) the best action depends on the inventory z and, since
it is seen before acting, on the exchange's book. Backwards from the end of an episode of H steps, V_H = 0,

    V_t = T V_{t+1},    value = V_0(0) / H,    gain = lim (V_t - V_{t+1})

with the operator T of inventory_game.py. It is the supremum over all policies, whatever they see or remember: books,
orders and the moves of the midprice are independent from step to step, and the competitor's laws are fixed.

What is not exact, and by how much:

    book        E_book is a mean over independently scrambled Sobol' sets of books, a program for each. Only what the
                penalty costs is taken from them: Theorem 1's supremum for the same books is subtracted and that of
                many books added. The scatter of the sets gives the standard error.
    truncation  Beyond the grid a lower program hedges all at once, and an upper one earns on every step that is left
                the most that any step can. The supremum lies between their values.
    hedge       Hedges are multiples of the grid's step. A finer grid allows more, so the value is a lower bound; the
                gain from the last doubling of `refinement` is given as the error. That is an estimate: from 4 on
                each doubling gained less than half of the one before wherever it was tried (see the tests), from 2
                to 4 it may gain as much as from 1 to 2.
    epsilon     Quotes on the uniform parts of a law are on a grid (inventory_game.py); 0 against constants.
    mid         The midprice is held at P_0. Spread PnL and hedges are worth P_t, a martingale, and the measure that
                has P_t / P_0 as its density leaves all else as it is: the asymmetric penalty is proportional to P_t
                too, and the value exact. InvPnL² is worth P_t², so that α varies as P_t / P_0 =: L_t. A maker that
                knew the least L of them could do no better than with α L throughout; the value V(α) is convex, so
                that is at most L V(α) + (1 - L) V(0), and E[1 - L] <= σ √(2 H Δ / π). From below, the policy for P_0
                loses no more than (exp(σ² H Δ) - 1)(V(0) - V(α)), which is less.

Units: inventory in units of trade, values in currency a step.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from twosided.core.numeric import Array
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.dealer.exact.bellman import Books, Game, Quotes, Risk
from twosided.dealer.exact.best_response import best_response
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.exact.greedy_policy import InventoryPolicy, SkewCurve, play
from twosided.dealer.exact.hedge_cost import net_flow_law
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl
from twosided.dealer.exact.total_pnl import fixed_maker
from twosided.dealer.investors import UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import RandomQuoter
from twosided.prices import GeometricBrownian, PriceState
from twosided.rewards import AsymmetricPenalty, SquarePenalty

SETTLED = 1e-12
"""The increments of V are settled when they differ by less over the grid, as a fraction of the largest reward."""
LONGEST = 10_000
"""Steps after which they are not waited for any longer."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """How far the value may be off, by cause, in currency a step; see the module's docstring."""

    book: float
    """Standard error of the expectation over books."""
    truncation: float
    """Bound on what inventories beyond the grid could add."""
    hedge: float
    """Estimate of what finer hedges could add."""
    epsilon: float
    """Bound on what quotes between those tried could add."""
    mid: float
    """Bound, either way, on the effect of holding the midprice at P_0."""

    @property
    def bound(self) -> float:
        """Their sum but for the standard error."""
        return self.truncation + self.hedge + self.epsilon + self.mid


@dataclass(frozen=True, eq=False, kw_only=True)
class PenalisedOptimum:
    """The supremum of a scenario's reward, and the policy that reaches or approaches it."""

    value: float
    """Supremum of the mean reward a step over an episode that starts without inventory, in currency."""
    gain: float
    """The same in the long run."""
    errors: Errors
    """Of the value."""
    attained: bool
    """Whether a policy reaches it: not if one has to undercut a competitor by as little as can be."""
    stationary_value: float
    """What an episode of the long run's optimal policy, which does not look at the time, is worth a step."""
    inventory_mean: float
    """Of the inventory after a step in its episodes, in units."""
    inventory_std: float
    """Its deviation, in units."""
    curve: SkewCurve
    """What it quotes and hedges at each inventory."""
    policy: InventoryPolicy
    """It, for the simulator."""


def penalised_optimum(
    scenario: Scenario,
    *,
    reach: int | None = None,
    refinement: int = 4,
    points: int = 64,
    replicates: int = 8,
    cells: int = 16,
) -> PenalisedOptimum:
    """The supremum of the learner's TotalPnL, SquarePenalty or AsymmetricPenalty a step. Raises NotExact.

    Against one competitor that quotes from fixed laws, for unit investors without foresight and a geometric Brownian
    midprice without drift. Inventories up to `reach` units are followed (None: six times the orders of a step) in
    steps of 1 / `refinement`; there are `points` books, a power of two, in each of the replicates; a uniform part of a
    competitor's law is cut into `cells`.
    """
    market, price, flow = _parts(scenario)
    maker, orders, horizon = _competitor(scenario), flow.count, scenario.horizon
    reach = 6 * orders if reach is None else reach
    check("reach", reach, f"at least the orders of a step ({orders})", reach >= orders)
    check("refinement", refinement, "even and at least 2", refinement >= 2 and refinement % 2 == 0)
    check("replicates", replicates, "at least 2", replicates >= 2)
    check("cells", cells, "at least 1", cells >= 1)

    mid, risk = float(price.initial), _risk(scenario.reward, price)
    quotes = Quotes.against(maker.buy, maker.sell, cells)
    sizes = np.arange(reach * refinement + 1) / refinement
    books = Books.sample(market.book, mid, float(market.hedge_cost), sizes, points, replicates)
    fine = Game(quotes, books, risk, orders, reach, refinement)
    coarse = Game(quotes, books.every_other_size(), risk, orders, reach, refinement // 2)
    solution, coarser = _backward(fine, horizon), _backward(coarse, horizon)
    most = _most(fine, horizon)

    # Theorem 1's supremum, of many books and of each replicate's.
    margin = best_response(maker.buy).supremum + best_response(maker.sell).supremum
    theorem = margin * orders / 2 * mid * expected_costs(market.book, [1.0])[:, 0]
    of_books = margin * orders / 2 * books.order.mean(-1)
    penalties = solution.value - of_books
    unpenalised, value = float(theorem.mean()), float(theorem.mean() + penalties.mean())
    played = play(fine, solution.future, horizon)
    return PenalisedOptimum(
        value=value,
        gain=float(unpenalised + (solution.gain - of_books).mean()),
        errors=Errors(
            book=float(np.hypot(_standard_error(theorem), _standard_error(penalties))),
            truncation=max(float((most - solution.value).mean()), 0.0),
            hedge=max(float((solution.value - coarser.value).mean()), 0.0),
            epsilon=solution.missed,
            mid=_drawdown(price, horizon) * (unpenalised - value) if risk.square else 0.0,
        ),
        attained=played.approached == 0,
        stationary_value=played.value + unpenalised - float(of_books.mean()),
        inventory_mean=played.inventory_mean,
        inventory_std=played.inventory_std,
        curve=played.curve,
        policy=InventoryPolicy.of(fine, solution.future, mid, market),
    )


def penalised_value(scenario: Scenario, policy: Policy) -> float:
    """What a policy that quotes from fixed laws and never hedges is paid a step, over an episode; in currency.

    Exact for TotalPnL, SquarePenalty and AsymmetricPenalty, the midprice's moves included; only the mean price of an
    order is that of a large sample of books. Any number of competitors with fixed laws. Raises NotExact.
    """
    market, price, flow = _parts(scenario)
    policies = (policy, *scenario.competitors)
    _refuse_symmetric(*policies)
    makers = [fixed_maker(other) for other in policies]
    if makers[0].hedge.support[1] > 0:
        raise NotExact("the penalty's mean is exact only for a maker that never hedges")
    net_flow, risk = net_flow_law(makers, 0, investors=flow.count), _risk(scenario.reward, price)
    # E[P_t²] / P_0² for InvPnL², E[P_t] / P_0 for what is proportional to the midprice.
    growth = np.exp((_variance(price) if risk.square else 0.0) * np.arange(scenario.horizon))
    law, penalty = np.ones(1), 0.0
    for each in growth:
        law = np.convolve(law, net_flow)
        penalty += float(each * (law @ risk(np.arange(law.size, dtype=float) - law.size // 2)))
    worth = float(price.initial) * flow.count / 2 * float(expected_costs(market.book, [1.0]).mean())
    return float(expected_spread_pnl(makers, worth)[0]) + penalty / scenario.horizon


@dataclass(frozen=True, eq=False)
class _Solution:
    """Of the program that hedges all beyond the grid; arrays with one entry a replicate."""

    value: Array
    """V_0(0) / H."""
    gain: Array
    future: Array
    """h on the grid and beyond, the replicates' mean."""
    missed: float
    """The ε grid's error, a step."""


def _backward(game: Game, horizon: int) -> _Solution:
    """Until the horizon is reached and the increments are settled; what settled goes on as it is."""
    zero, cost = game.reach * game.refinement, _cost_of_leaving(game)
    value = at_horizon = np.zeros((len(cost), game.inventory.size))
    missed = 0.0
    for step in range(max(LONGEST, horizon)):
        following, error = game.step(_extended(game, value, value[:, [zero]] - cost))
        increment, value = following - value, following
        settled = np.ptp(increment, axis=-1).max() <= SETTLED * np.abs(value).max()
        if step < horizon:
            steps = horizon - step if settled else 1
            at_horizon, missed = at_horizon + steps * increment, missed + steps * error
        if settled:
            break
    future = _extended(game, value, value[:, [zero]] - cost) - value[:, [zero]]
    return _Solution(at_horizon[:, zero] / horizon, increment[:, zero], future.mean(0), missed / horizon)


def _most(game: Game, horizon: int) -> Array:
    """V_0(0) / H of the program in which every step that starts beyond the grid earns the most that any can."""
    ceiling = game.ceiling()
    value, outside = np.zeros((len(ceiling), game.inventory.size)), np.zeros((len(ceiling), game.beyond.size))
    for step in range(horizon):
        value = game.step(_extended(game, value, outside + step * ceiling[:, None]))[0]
    return value[:, game.reach * game.refinement] / horizon


def _cost_of_leaving(game: Game) -> Array:
    """What hedging all costs on average, or more, on the grid and beyond; nothing if no inventory does any harm."""
    volume = np.abs(game.beyond)
    if game.risk == Risk():
        return np.zeros((len(game.books.order), volume.size))
    mean = game.books.hedge.mean(1)
    outside = np.maximum(volume - game.reach, 0.0) * game.books.slope.mean(-1)[:, None]
    inside = np.minimum(np.rint(volume * game.refinement).astype(int), game.books.sizes.size - 1)
    return mean[:, inside] + outside


def _extended(game: Game, value: Array, beyond: Array) -> Array:
    """The value on the grid, and what lies beyond."""
    pad = game.orders * game.refinement
    return np.concatenate([beyond[:, :pad], value, beyond[:, -pad:]], -1)


def _risk(reward: Reward, price: GeometricBrownian) -> Risk:
    """φ at P_0."""
    with jax.enable_x64(True):
        change = price.change_moments(PriceState(jnp.asarray(float(price.initial), jnp.float64)))
    if isinstance(reward, TotalPnL):
        return Risk()
    if isinstance(reward, SquarePenalty):
        return Risk(square=float(reward.weight) * float(change.mean_square))
    if isinstance(reward, AsymmetricPenalty):
        weight = float(reward.weight)
        return Risk(long=weight * float(change.downside), short=weight * float(change.mean - change.downside))
    raise NotExact(f"no optimum over inventory is known for the reward {type(reward).__name__}")


def _parts(scenario: Scenario) -> tuple[DealerMarket, GeometricBrownian, UnitInvestors]:
    market = scenario.market
    if not isinstance(market, DealerMarket):
        raise NotExact(f"no exact optimum is known for {type(market).__name__}")
    price, flow = market.price, market.flow
    if not isinstance(price, GeometricBrownian) or float(price.drift) != 0:
        raise NotExact("the program over inventory is for a geometric Brownian midprice without drift")
    if not isinstance(flow, UnitInvestors) or flow.lookahead > 0 or flow.tiers > 1:
        raise NotExact(
            "the program over inventory is for unit investors that are alike and have no foresight"
        )
    return market, price, flow


def _competitor(scenario: Scenario) -> FixedMaker:
    if scenario.learners != 1 or len(scenario.competitors) != 1:
        raise NotExact("the program over inventory is for one learner against one competitor")
    _refuse_symmetric(*scenario.competitors)
    return fixed_maker(scenario.competitors[0])


def _refuse_symmetric(*policies: Policy) -> None:
    if any(isinstance(policy, RandomQuoter) and policy.symmetric for policy in policies):
        raise NotExact("the program over inventory is for makers that draw their sides apart")


def _variance(price: GeometricBrownian) -> float:
    """σ² Δ, that of a step's log return."""
    return float(price.volatility) ** 2 * float(price.time_step)


def _drawdown(price: GeometricBrownian, horizon: int) -> float:
    """Bound on the mean of 1 - min_t P_t / P_0 over an episode: σ √(2 H Δ / π)."""
    return float(np.sqrt(2 * _variance(price) * horizon / np.pi))


def _standard_error(x: Array) -> float:
    return float(x.std(ddof=1) / np.sqrt(x.size))
