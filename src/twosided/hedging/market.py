"""Market of a dealer that trades with clients and hedges on an exchange, or skews its prices (Bakshaev 2020, 3 to 6).

In the step from t-1 to t, with position q and the action (a, s) chosen on the observation at t-1:

    1. the midprice moves, and the old position is revalued:                  inventory PnL  q (S_t - S_{t-1})
    2. a is bought on the exchange at its ask (sold at its bid if a < 0):     hedge PnL  -|a| ν_x δ_x
    3. clients trade at the maker's bid and ask at t after the skew s:        spread PnL  Σ |n| ν δ (1 - skew)
    4. q' = q + a + n, with n > 0 where the maker buys; the market terminates if |q'| exceeds 1.5 MaxPosLimit

An order is thus executed one step later: the hedge at t was chosen before S_t was known. Demand is elastic: a skew
moves s B MaxHedge / R units from the clients' sales to their purchases (eq. 24), with R the clients' rate. The paper's
B = 0.5 moves 0.16 s units, which is negligible beside net trades of about 20.

The client trades of a step are netted and trade at the price of one side, as in the paper's code; or both gross streams
trade, each at the price of its side.

A signal may predict the price: a standard normal with a given correlation to the innovation of the price change after
the next, which is the first that the next hedge can benefit from.

The unit of time is one simulation of 512 steps. Money is in currency, positions are in units of trade.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.dashboard import Dashboard
from twosided.core.market import Market
from twosided.core.metrics import MetricGroup
from twosided.core.numeric import Scalar
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.core.transition import PnL, Quotes, Transition
from twosided.core.validation import check, is_at_least, is_positive
from twosided.hedging.clients import PoissonClients, RollingReturns
from twosided.hedging.extras import HedgingExtras, position_columns
from twosided.hedging.spreads import RollingVolatility, StochasticSpread, apply_skew, check_window
from twosided.prices import GeometricBrownian, PriceProcess


class HedgingAction(eqx.Module):
    """Hedge and skew of a step; leaves have a leading axis of makers inside the market."""

    hedge: Float[Array, "*makers"] | float
    """Units to buy on the exchange, negative to sell; within ± max_hedge."""
    skew: Float[Array, "*makers"] | float | None = None
    """Skew in [-1, 1]: negative raises the bid, positive lowers the ask; None if the maker cannot skew."""


class HedgingObservation(eqx.Module):
    """Observation of the maker: its position, as in the paper, and more if the market shows it."""

    inventory: Float[Array, "*makers"]
    """q, in units."""
    volatility: Float[Array, "*makers"] | None = None
    """σ_roll / σ_mean, which determines the clients' rate and the exchange's spread."""
    trend: Float[Array, "*makers"] | None = None
    """Price less the mean of the last prices, over σ_roll. A move that continues increases σ_roll, so more clients
    trade with it than with a reversal: the trend predicts client trades a little."""
    signal: Float[Array, "*makers 2"] | None = None
    """Signals of the next price change, shown one step ago, and of the change after it; standard normals. The first one
    predicts the revaluation of the hedge chosen before; without it the value of a hedge could not be learned from
    single steps."""


class HedgingShock(eqx.Module):
    """Random inputs of a step."""

    price: Any
    """Shock of the price process."""
    spreads: Float[Array, "*batch 4"]
    """Standard normals: the client's bid and ask, the exchange's bid and ask."""
    clients: Float[Array, "*batch 3"]
    """Standard normals of the client flow."""
    signal: Float[Array, "*batch"] | None
    """Signal that is new after the step."""
    path_volatility: Float[Array, "*batch"] | None
    """Mean σ_roll of an episode that starts at this step, if the market looks ahead; 0 if unknown."""


class HedgingState(eqx.Module):
    """State of the market before the maker acts."""

    price: Any
    """State of the price process."""
    volatility: RollingVolatility
    returns: RollingReturns
    cash: Float[Array, ""]
    """Cash from all trades at their own prices, in currency; wealth is cash + position · mid."""
    client_position: Float[Array, ""]
    """Position from client trades, in units."""
    hedge_position: Float[Array, ""]
    """Position from hedges, in units."""
    signals: Float[Array, "2"] | None
    """Signals of the next price change and of the change after it."""


class HedgingMarket(Market):
    """Dealer that hedges client trades on an exchange, or skews its prices to attract offsetting trades."""

    takes_competitors = False
    extras = HedgingExtras

    price: PriceProcess = GeometricBrownian(initial=100.0, volatility=0.15, time_step=1 / 512)
    """Midprice process."""
    clients: PoissonClients = PoissonClients()
    """Client trade flow."""
    client_spread: StochasticSpread = StochasticSpread(multiplier=0.18)
    """Spread that the maker charges clients."""
    exchange_spread: StochasticSpread = StochasticSpread(multiplier=0.07)
    """Spread that the exchange charges the maker."""
    max_hedge: Scalar = 32.0
    """Largest hedge of a step, in units."""
    max_position: Scalar = 256.0
    """MaxPosLimit, limit of the position, in units."""
    breach_multiple: Scalar = 1.5
    """The market terminates when the position exceeds this multiple of max_position."""
    allow_skew: bool = eqx.field(static=True, default=False)
    """Let the maker choose a skew in addition to the hedge."""
    elasticity: Scalar = 60.0
    """B of eq. 24: a full skew moves B max_hedge / R units of client trades, with R the clients' rate (19.2 units at
    the mean rate)."""
    gross: bool = eqx.field(static=True, default=False)
    """Trade the clients' sales and purchases each at the price of its side, instead of their net at one price."""
    extended_observation: bool = eqx.field(static=True, default=False)
    """Show the maker volatility and trend in addition to the position."""
    signal_correlation: Scalar | None = None
    """Correlation of the signal with the innovation of the price change after the next, in [-1, 1]. Default: no
    signal."""
    window: int = eqx.field(static=True, default=10)
    """Number of prices in the rolling volatility."""
    lookahead: int = eqx.field(static=True, default=0)
    """Steps of the path whose mean volatility, known in advance as in the paper, scales flow and spreads; with 0 it is
    the mean so far. It is computed from shocks that are drawn together: it is complete in the first episode of an
    evaluation, and is replaced by the mean so far where less than a tenth of the path is drawn."""
    num_makers: int = eqx.field(static=True, default=1)
    """Number of makers; must be 1, because the market has no competitors."""

    def __check_init__(self):
        check_parameters(self)
        check("elasticity", self.elasticity, "at least 0 and finite", lambda: is_at_least(self.elasticity, 0))
        correlation = self.signal_correlation
        if correlation is not None:
            check("signal_correlation", correlation, "in [-1, 1]", lambda: abs(correlation) <= 1)

    @property
    def action_space(self) -> Box:
        skew = 1.0 if self.allow_skew else None
        hedge = jnp.asarray(self.max_hedge, float)
        return Box(HedgingAction(-hedge, None if skew is None else -skew), HedgingAction(hedge, skew))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> HedgingShock:
        key_price, key_spreads, key_clients, key_signal = jax.random.split(key, 4)
        price = self.price.shocks(key_price, shape)
        return HedgingShock(
            price=price,
            spreads=jax.random.normal(key_spreads, (*shape, 4)),
            clients=self.clients.shocks(key_clients, shape),
            signal=None if self.signal_correlation is None else jax.random.normal(key_signal, shape),
            path_volatility=mean_path_volatility(self.price, price, shape, self.window, self.lookahead),
        )

    def reset(self, shock: HedgingShock) -> tuple[HedgingState, HedgingObservation]:
        price = self.price.reset(shock.price)
        zero = jnp.zeros_like(price.mid)
        state = HedgingState(
            price=price,
            volatility=RollingVolatility.initial(price.mid, self.window, shock.path_volatility),
            returns=self.clients.initial_returns(price.mid),
            cash=zero,
            client_position=zero,
            hedge_position=zero,
            # No signal predicts the first price change: its entry is 0 and has no effect in the first step.
            signals=None if shock.signal is None else jnp.stack([jnp.zeros_like(shock.signal), shock.signal]),
        )
        return state, self._observe(state)

    def step(
        self, state: HedgingState, action: HedgingAction, shock: HedgingShock
    ) -> tuple[HedgingState, Transition]:
        hedge = jnp.clip(jnp.asarray(action.hedge)[0], -self.max_hedge, self.max_hedge)
        skew = jnp.zeros_like(hedge)
        if action.skew is not None:
            skew = jnp.clip(jnp.asarray(action.skew)[0], -1.0, 1.0)
        held = state.client_position + state.hedge_position

        price = self.price.step(state.price, self._price_shock(state, shock))
        mid, change = price.mid, self.price.change_moments(state.price)
        revaluation = held * (mid - state.price.mid)
        volatility = state.volatility.update(mid)
        returns = self.clients.update_returns(state.returns, jnp.log(mid / state.price.mid))

        # Sides are in the order bid, ask.
        exchange = self.exchange_spread.half_spread(shock.spreads[2:], mid, volatility)
        hedge_cost = jnp.maximum(-hedge, 0.0) * exchange[0] + jnp.maximum(hedge, 0.0) * exchange[1]

        rate = self.clients.rate(volatility)
        return_std = (
            jnp.sqrt(jnp.maximum(change.mean_square - jnp.square(change.mean), 0.0)) / state.price.mid
        )
        sales, purchases = self.clients.trades(shock.clients, rate, returns, return_std)
        skew_volume = skew * self.elasticity * self.max_hedge / jnp.maximum(rate, 1e-6)
        client = apply_skew(self.client_spread.half_spread(shock.spreads[:2], mid, volatility), skew)
        if self.gross:
            # A skew adds its volume to one stream; the other is unchanged.
            bought = sales + jnp.maximum(-skew_volume, 0.0)
            sold = purchases + jnp.maximum(skew_volume, 0.0)
        else:
            net = sales - purchases - skew_volume
            bought, sold = jnp.maximum(net, 0.0), jnp.maximum(-net, 0.0)
        spread = bought * client[0] + sold * client[1]

        # Cash is computed from amounts paid and received, independently of the attribution above.
        paid = bought * (mid - client[0]) + jnp.maximum(hedge, 0.0) * (mid + exchange[1])
        received = sold * (mid + client[1]) + jnp.maximum(-hedge, 0.0) * (mid - exchange[0])
        after = HedgingState(
            price=price,
            volatility=volatility,
            returns=returns,
            cash=state.cash - paid + received,
            client_position=state.client_position + bought - sold,
            hedge_position=state.hedge_position + hedge,
            signals=self._signals(state, shock),
        )
        inventory = after.client_position + after.hedge_position
        expected = change.of_position(held)
        if state.signals is not None:
            # The signals in the state predict the change, so the draw itself is reported in place of its expectation.
            expected = revaluation, jnp.square(revaluation), jnp.minimum(revaluation, 0.0)
        fields = {
            "pnl": PnL(spread, -hedge_cost, revaluation, jnp.zeros_like(spread)),
            "quotes": Quotes(
                mid, mid, mid - client[0], mid + client[1], mid - exchange[0], mid + exchange[1]
            ),
            "held": held,
            "expected_inventory_pnl": expected[0],
            "inventory": inventory,
            "bought": bought,
            "sold": sold,
            "extras": HedgingExtras(
                expected_inventory_square=expected[1],
                expected_inventory_loss=expected[2],
                client=after.client_position,
                hedges=after.hedge_position[None],
                mids=mid[None],
                initial_price=jnp.asarray(self.price.initial, mid.dtype),
                max_position=jnp.asarray(self.max_position, mid.dtype),
            ),
        }
        return after, Transition(
            observation=self._observe(after),
            terminated=jnp.abs(inventory) > self.breach_multiple * self.max_position,
            time_step=jnp.asarray(self.price.time_step, mid.dtype),
            **jax.tree.map(lambda leaf: leaf[None], fields),
        )

    def _signals(self, state: HedgingState, shock: HedgingShock) -> Float[Array, "2"] | None:
        """Return the signals one step later."""
        if state.signals is None or shock.signal is None:
            return None
        return jnp.stack([state.signals[1], shock.signal])

    def _price_shock(self, state: HedgingState, shock: HedgingShock) -> Any:
        """Return the shock of the price process, with its correlation to the signal."""
        if state.signals is None or self.signal_correlation is None:
            return shock.price
        correlation = jnp.where(state.volatility.count > 1, self.signal_correlation, 0.0)
        return self.price.correlated(shock.price, state.signals[0], correlation)

    def _observe(self, state: HedgingState) -> HedgingObservation:
        position = state.client_position + state.hedge_position
        return HedgingObservation(
            inventory=position[None],
            volatility=state.volatility.relative[None] if self.extended_observation else None,
            trend=state.volatility.trend[None] if self.extended_observation else None,
            signal=None if state.signals is None else state.signals[None],
        )

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.hedging.optimum import exact_hedging

        return exact_hedging(scenario)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.hedging.metrics import hedging_metrics

        return hedging_metrics()

    def dashboard(self) -> Dashboard:
        from twosided.hedging.dashboard import HedgingDashboard

        return HedgingDashboard()

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        return position_columns(transition)


def check_parameters(market: Any) -> None:
    """Check the parameters that the markets of one asset and of several have in common. Raises ValueError."""
    constraint = "1 (the market has no competitors: choose none)"
    check("num_makers", market.num_makers, constraint, market.num_makers == 1)
    for name in ("max_hedge", "max_position", "breach_multiple"):
        value = getattr(market, name)
        check(name, value, "positive and finite", lambda value=value: is_positive(value))
    check_window("window", market.window)
    check("lookahead", market.lookahead, "from 0 to 1000000", 0 <= market.lookahead <= 1_000_000)


def mean_path_volatility(
    process: Any, shocks: Any, shape: tuple[int, ...], window: int, steps: int
) -> Float[Array, "..."] | None:
    """Return the mean σ_roll of an episode of `steps` steps that starts at each shock, or None if `steps` is 0.

    The first axis of `shape` is time. The mean is 0 where less than a tenth of the episode is drawn. One path of the
    price is simulated from the first shock, and an episode that starts later is rescaled to the initial price. The
    result is exact for the first episode. For later episodes of a geometric process it is exact but for the first
    windows, which contain prices before the start of the episode.
    """
    if steps == 0:
        return None
    if len(shape) < 2:
        return jnp.zeros(jax.tree.leaves(shocks)[0].shape)

    def path(shocks: Any) -> Float[Array, "time *assets"]:
        initial = process.reset(jax.tree.map(lambda leaf: leaf[0], shocks))
        initial_volatility = RollingVolatility.initial(initial.mid, window)

        def scan_step(carry: Any, shock: Any) -> Any:
            price, volatility = carry
            price = process.step(price, shock)
            volatility = volatility.update(price.mid)
            return (price, volatility), (price.mid, volatility.rolling)

        later = jax.tree.map(lambda leaf: leaf[1:], shocks)
        _, (mids, rolling) = jax.lax.scan(scan_step, (initial, initial_volatility), later)
        mids = jnp.concatenate([initial.mid[None], mids])
        total = jnp.concatenate([jnp.zeros_like(mids[:1]), jnp.cumsum(rolling, 0)])
        start = jnp.arange(shape[0])
        end = jnp.minimum(start + steps, shape[0] - 1)
        num_drawn = (end - start).reshape(-1, *[1] * initial.mid.ndim)
        mean = (total[end] - total[start]) / jnp.maximum(num_drawn, 1)
        return jnp.where(num_drawn >= steps / 10, mean * initial.mid / mids, 0.0)

    # All axes between time and those of a single shock are merged into one axis of paths.
    flat = jax.tree.map(lambda leaf: leaf.reshape(shape[0], -1, *leaf.shape[len(shape) :]), shocks)
    volatility = jax.vmap(path, 1, 1)(flat)
    return volatility.reshape(*shape, *volatility.shape[2:])
