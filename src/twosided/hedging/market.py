"""One dealer takes the trades of its clients and hedges on an exchange, or skews its price (Bakshaev 2020, 3 to 6).

In a step from t-1 to t, with q the position, and the action (a, s) chosen on what was seen at t-1:

    1. the midprice moves, and the old position is revalued:                  inventory PnL  q (S_t - S_{t-1})
    2. a is bought on the exchange, at its ask (sold at its bid if a < 0):    hedge PnL  -|a| ν_x δ_x
    3. clients trade, at the maker's bid and ask of t after the skew s:       spread PnL  Σ |n| ν δ (1 - skew)
    4. q' = q + a + n, n > 0 where the maker buys; beyond 1.5 limits the market ends

So an order takes a step to be done: what is hedged at t was asked for before S_t was known. Demand is elastic: a skew
moves s B MaxHedge / R units from those who sell to those who buy (eq. 24), R the clients' rate; B = 0.5 of the paper
moves 0.16 s units, against net trades of some 20, and does nothing.

Clients' trades of a step are netted and trade at one side's price, as in the paper's code; or both gross streams trade,
each at its own side.

A signal may foretell the price: a standard normal with a given correlation with the innovation of the move after the
next, the first that a hedge which is asked for now can catch.

The unit of time is one simulation, of 512 steps; money is in currency, positions in units of trade.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.market import Market
from twosided.core.numeric import Scalar
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.core.transition import PnL, Quotes, Transition
from twosided.core.validation import check, is_at_least, is_positive
from twosided.hedging.clients import PoissonClients, Returns
from twosided.hedging.extras import HedgingExtras, position_columns
from twosided.hedging.spreads import RollingVolatility, StochasticSpread, check_window, skewed
from twosided.prices import GeometricBrownian, PriceProcess


class HedgingAction(eqx.Module):
    """What the maker decides in a step; leaves with a leading axis of makers inside the market."""

    hedge: Float[Array, "*makers"] | float
    """Units to buy on the exchange, to sell if below 0; within ± max_hedge."""
    skew: Float[Array, "*makers"] | float | None = None
    """In [-1, 1]: below 0 the bid is raised, above 0 the ask is lowered; None where the maker cannot skew."""


class HedgingObservation(eqx.Module):
    """What the maker sees before it acts: its position, as in the paper, and more where the market shows it."""

    inventory: Float[Array, "makers"]
    """q, in units."""
    volatility: Float[Array, "makers"] | None = None
    """σ_roll / σ_mean, which says how many clients come and what the exchange will ask."""
    trend: Float[Array, "makers"] | None = None
    """How far the price is above the mean of its last ones, in their deviations. A move that goes on widens them, so
    more clients come with it than with one that turns back: they can be foreseen a little."""
    signal: Float[Array, "makers 2"] | None = None
    """Of the next move, which was seen a step before, and of the one after it; standard normals. The first says what a
    hedge that was asked for before will bring: without it what a hedge is worth could not be learned step by step."""


class HedgingShock(eqx.Module):
    """What chance decides in a step."""

    price: Any
    spreads: Float[Array, "*batch 4"]
    """Standard normals: the client's bid and ask, the exchange's bid and ask."""
    clients: Float[Array, "*batch 3"]
    signal: Float[Array, "*batch"] | None
    """The signal that is new after the step."""
    whole: Float[Array, "*batch"] | None
    """Mean rolling volatility of the episode that starts here, where the market looks ahead; 0 if unknown."""


class HedgingState(eqx.Module):
    """Where the market stands before the maker acts."""

    price: Any
    volatility: RollingVolatility
    returns: Returns
    cash: Float[Array, ""]
    """From every trade at its own price, in currency; wealth is cash + position · mid."""
    client_position: Float[Array, ""]
    """What clients have brought, in units."""
    hedge_position: Float[Array, ""]
    """What was traded on the exchange, in units."""
    signals: Float[Array, "2"] | None
    """Of the next move and of the one after it."""


class HedgingMarket(Market):
    """A dealer hedges the trades of its clients on an exchange, or skews its price to attract opposite ones."""

    takes_competitors = False
    extras = HedgingExtras

    price: PriceProcess = GeometricBrownian(initial=100.0, volatility=0.15, time_step=1 / 512)
    """How the midprice moves."""
    clients: PoissonClients = PoissonClients()
    """Who trades with the maker."""
    client_spread: StochasticSpread = StochasticSpread(multiplier=0.18)
    """What the maker charges its clients."""
    exchange_spread: StochasticSpread = StochasticSpread(multiplier=0.07)
    """What the exchange charges the maker."""
    max_hedge: Scalar = 32.0
    """Largest hedge of a step, in units."""
    max_position: Scalar = 256.0
    """MaxPosLimit, in units."""
    breach: Scalar = 1.5
    """Beyond so many limits the market ends the episode."""
    skews: bool = eqx.field(static=True, default=False)
    """The maker chooses a skew too."""
    elasticity: Scalar = 60.0
    """B of eq. 24: a full skew moves B max_hedge / R units, R the clients' rate (19.2 at the mean rate)."""
    gross: bool = eqx.field(static=True, default=False)
    """Clients' two streams trade each at its own side's price, instead of their net at one."""
    informed: bool = eqx.field(static=True, default=False)
    """Show the maker volatility and trend too."""
    signal_correlation: Scalar | None = None
    """Correlation of a signal with the innovation of the move after the next, in [-1, 1]; none: no signal is shown."""
    window: int = eqx.field(static=True, default=10)
    """Prices that rolling volatility is taken over."""
    lookahead: int = eqx.field(static=True, default=0)
    """Steps of the whole path whose mean volatility scales flow and spreads, known in advance as in the paper; 0: the
    mean so far. It is found from the chance that is drawn at one time: the first episode of an evaluation has all of
    it, and where little is left in a block of a rollout the mean so far stands in."""
    num_makers: int = eqx.field(static=True, default=1)
    """Only 1: nobody competes for these clients."""

    def __check_init__(self):
        check_dealing(self)
        check("elasticity", self.elasticity, "at least 0 and finite", lambda: is_at_least(self.elasticity, 0))
        correlation = self.signal_correlation
        if correlation is not None:
            check("signal_correlation", correlation, "in [-1, 1]", lambda: abs(correlation) <= 1)

    @property
    def action_space(self) -> Box:
        skew = 1.0 if self.skews else None
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
            whole=whole_path_volatility(self.price, price, shape, self.window, self.lookahead),
        )

    def reset(self, shock: HedgingShock) -> tuple[HedgingState, HedgingObservation]:
        price = self.price.reset(shock.price)
        nothing = jnp.zeros_like(price.mid)
        state = HedgingState(
            price=price,
            volatility=RollingVolatility.start(price.mid, self.window, shock.whole),
            returns=self.clients.start(price.mid),
            cash=nothing,
            client_position=nothing,
            hedge_position=nothing,
            # Of the first move nothing was foretold: its signal is an innovation like any other.
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

        price = self.price.step(state.price, self._foretold(state, shock))
        mid, change = price.mid, self.price.change_moments(state.price)
        revaluation = held * (mid - state.price.mid)
        volatility = state.volatility.after(mid)
        returns = self.clients.after(state.returns, jnp.log(mid / state.price.mid))

        # Sides stand in the order bid, ask.
        exchange = self.exchange_spread.half(shock.spreads[2:], mid, volatility)
        hedge_cost = jnp.maximum(-hedge, 0.0) * exchange[0] + jnp.maximum(hedge, 0.0) * exchange[1]

        rate = self.clients.rate(volatility)
        deviation = jnp.sqrt(jnp.maximum(change.mean_square - jnp.square(change.mean), 0.0)) / state.price.mid
        sell, buy = self.clients.trades(shock.clients, rate, returns, deviation)
        moved = skew * self.elasticity * self.max_hedge / jnp.maximum(rate, 1e-6)
        client = skewed(self.client_spread.half(shock.spreads[:2], mid, volatility), skew)
        if self.gross:
            # What a skew moves joins one stream; the other is as it was.
            bought, sold = sell + jnp.maximum(-moved, 0.0), buy + jnp.maximum(moved, 0.0)
        else:
            net = sell - buy - moved
            bought, sold = jnp.maximum(net, 0.0), jnp.maximum(-net, 0.0)
        spread = bought * client[0] + sold * client[1]

        # Cash is kept from what is paid and received, apart from the attribution above.
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
            # The state knows more than the process: the draw itself is what is expected.
            expected = revaluation, jnp.square(revaluation), jnp.minimum(revaluation, 0.0)
        told = {
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
                expected[1], expected[2], after.client_position, after.hedge_position[None], mid[None]
            ),
        }
        return after, Transition(
            observation=self._observe(after),
            terminated=jnp.abs(inventory) > self.breach * self.max_position,
            **jax.tree.map(lambda leaf: leaf[None], told),
        )

    def _signals(self, state: HedgingState, shock: HedgingShock) -> Float[Array, "2"] | None:
        """Of the next move and of the one after it, a step later."""
        if state.signals is None or shock.signal is None:
            return None
        return jnp.stack([state.signals[1], shock.signal])

    def _foretold(self, state: HedgingState, shock: HedgingShock) -> Any:
        """The price's shock, as far as a signal has foretold it."""
        if state.signals is None or self.signal_correlation is None:
            return shock.price
        correlation = jnp.where(state.volatility.count > 1, self.signal_correlation, 0.0)
        return self.price.correlated(shock.price, state.signals[0], correlation)

    def _observe(self, state: HedgingState) -> HedgingObservation:
        position = state.client_position + state.hedge_position
        return HedgingObservation(
            inventory=position[None],
            volatility=state.volatility.relative[None] if self.informed else None,
            trend=state.volatility.trend[None] if self.informed else None,
            signal=None if state.signals is None else state.signals[None],
        )

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.hedging.optimum import exact_hedging

        return exact_hedging(scenario)

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        return position_columns(transition)


def check_dealing(market: Any) -> None:
    """Checks what a market in which one dealer hedges its clients' flow has, of one asset or of several."""
    alone = "1 (nobody competes here: choose no competitors)"
    check("num_makers", market.num_makers, alone, market.num_makers == 1)
    for name in ("max_hedge", "max_position", "breach"):
        value = getattr(market, name)
        check(name, value, "positive and finite", lambda value=value: is_positive(value))
    check_window("window", market.window)
    check("lookahead", market.lookahead, "from 0 to 1000000", 0 <= market.lookahead <= 1_000_000)


def whole_path_volatility(
    process: Any, shocks: Any, shape: tuple[int, ...], window: int, steps: int
) -> Float[Array, "..."] | None:
    """Mean σ_roll of the episode of so many steps that starts at each shock; 0 where less than a tenth of it is drawn.

    The first axis of the shape is time. The price is followed from the first shock on, and an episode that starts later
    is as long as it, from the same first price: exact for the first, and for later ones of a price that grows by
    factors but for the prices before its start in its first windows. None if the market does not look ahead.
    """
    if steps == 0:
        return None
    if len(shape) < 2:
        return jnp.zeros(jax.tree.leaves(shocks)[0].shape)

    def path(shocks: Any) -> Float[Array, "time *assets"]:
        first = process.reset(jax.tree.map(lambda leaf: leaf[0], shocks))
        begin = RollingVolatility.start(first.mid, window)

        def one(carry: Any, shock: Any) -> Any:
            price, volatility = carry
            price = process.step(price, shock)
            volatility = volatility.after(price.mid)
            return (price, volatility), (price.mid, volatility.level)

        later = jax.tree.map(lambda leaf: leaf[1:], shocks)
        _, (mids, levels) = jax.lax.scan(one, (first, begin), later)
        mids = jnp.concatenate([first.mid[None], mids])
        total = jnp.concatenate([jnp.zeros_like(mids[:1]), jnp.cumsum(levels, 0)])
        start = jnp.arange(shape[0])
        end = jnp.minimum(start + steps, shape[0] - 1)
        drawn = (end - start).reshape(-1, *[1] * first.mid.ndim)
        mean = (total[end] - total[start]) / jnp.maximum(drawn, 1)
        return jnp.where(drawn >= steps / 10, mean * first.mid / mids, 0.0)

    # Paths on one axis, whatever axes follow time.
    flat = jax.tree.map(lambda leaf: leaf.reshape(shape[0], -1, *leaf.shape[len(shape) :]), shocks)
    whole = jax.vmap(path, 1, 1)(flat)
    return whole.reshape(*shape, *whole.shape[2:])
