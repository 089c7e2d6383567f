"""A dealer hedges one blended flow of clients with several assets (Bakshaev 2020, section 7).

Every asset k has its own price S_k, spreads and client flow n_k. Clients trade the blend of them with weights w:

    S = Σ w_k S_k, likewise bid and ask        (33)        n = Σ w_k n_k, netted, C' = C + n        (34)

and the maker hedges asset by asset, h_k' = h_k + a_k, in the order of a step of hedging.py. Its exposure to asset k is
q_k = w_k C + h_k, which it does not see, since it does not know w: only

    h_k S_k of every asset, and the portfolio's value V = C S + Σ h_k S_k = Σ q_k S_k                   (35)

Hedges are free, a_k each within ± max_hedge; or convex, of one amount a and fractions f (36, 37): a_1 = f_1 a, and of
what is left a_2 = f_2 (1 - f_1) a, and so on; the last asset takes the rest.

An asset hedges too much where h_k S_k exceeds C S or has its sign: |h_k S_k + C S| (38), summed over assets.

Inventory is V / S_0: in units of the blend at its first price. The market ends where it is beyond `breach` limits.
The unit of time is one simulation, of 512 steps; money is in currency.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.market import Market
from twosided.core.numeric import Scalar
from twosided.core.spaces import Box
from twosided.core.transition import PnL, Quotes, Transition
from twosided.core.validation import check
from twosided.hedging.clients import PoissonClients, Returns
from twosided.hedging.extras import HedgingExtras, position_columns
from twosided.hedging.market import check_dealing, whole_path_volatility
from twosided.hedging.spreads import RollingVolatility, StochasticSpread
from twosided.prices.assets import AssetPrices, AssetsState, EqualCorrelation


class PortfolioAction(eqx.Module):
    """What the maker hedges in a step; leaves with a leading axis of makers inside the market."""

    hedge: Float[Array, "*makers assets"]
    """Units of each asset to buy on the exchange, to sell if below 0; within ± max_hedge."""


class ConvexAction(eqx.Module):
    """The same as one amount that is divided among the assets."""

    amount: Float[Array, "*makers"] | float
    """Units to buy on the exchange, to sell if below 0; within ± max_hedge."""
    fractions: Float[Array, "*makers assets-1"]
    """Of what the assets before it have left, what each takes but the last; in [0, 1]."""


class PortfolioObservation(eqx.Module):
    """What the maker sees before it acts, as in the paper, and more where the market shows it."""

    hedge_values: Float[Array, "makers assets"]
    """h_k S_k, in thousands of currency."""
    net_value: Float[Array, "makers"]
    """V, in thousands of currency."""
    mids: Float[Array, "makers assets"] | None = None
    """S_k, in currency."""


class PortfolioShock(eqx.Module):
    """What chance decides in a step; an axis of assets last, or before what each needs."""

    price: Float[Array, "*batch assets"]
    spreads: Float[Array, "*batch assets 4"]
    """Standard normals: the client's bid and ask, the exchange's bid and ask."""
    clients: Float[Array, "*batch assets 3"]
    whole: Float[Array, "*batch assets"] | None
    """Mean rolling volatility of the episode that starts here, where the market looks ahead; 0 if unknown."""


class PortfolioState(eqx.Module):
    """Where the market stands before the maker acts."""

    price: AssetsState
    volatility: RollingVolatility
    returns: Returns
    cash: Float[Array, ""]
    """From every trade at its own price, in currency; wealth is cash + V."""
    client_position: Float[Array, ""]
    """C, units of the blend."""
    hedge_positions: Float[Array, "assets"]
    """h_k, in units."""


class PortfolioMarket(Market):
    """A dealer hedges one blended flow of clients with several assets."""

    takes_competitors = False
    extras = HedgingExtras

    prices: AssetPrices = EqualCorrelation()
    """How the assets' midprices move, and how many there are."""
    weights: tuple[float, ...] = ()
    """w_k, of each asset in what clients trade; they sum to 1. None are equal weights."""
    clients: PoissonClients = PoissonClients()
    """Who trades each asset's part of the blend."""
    client_spread: StochasticSpread = StochasticSpread(multiplier=0.18)
    """What the maker charges its clients, asset by asset."""
    exchange_spread: StochasticSpread = StochasticSpread(multiplier=0.07)
    """What the exchange charges the maker, asset by asset."""
    max_hedge: Scalar = 64.0
    """Largest hedge of a step, in units: of each asset, or of all together if convex."""
    max_position: Scalar = 256.0
    """MaxPosLimit, in units of the blend at its first price."""
    breach: Scalar = 1.5
    """Beyond so many limits the market ends the episode."""
    convex: bool = eqx.field(static=True, default=False)
    """Act by one amount and its division, instead of a hedge of each asset."""
    informed: bool = eqx.field(static=True, default=False)
    """Show the maker the assets' midprices too."""
    window: int = eqx.field(static=True, default=10)
    """Prices that rolling volatility is taken over."""
    lookahead: int = eqx.field(static=True, default=0)
    """Steps of the whole path whose mean volatility is known in advance; see hedging.py. 0: the mean so far."""
    num_makers: int = eqx.field(static=True, default=1)
    """Only 1: nobody competes for these clients."""

    def __check_init__(self):
        check_dealing(self)
        number, weights = self.prices.num_assets, self.weights
        what = f"one of each of the {number} assets, at least 0, summing to 1"
        check("weights", len(weights), what, len(weights) in (0, number))
        # Of weights that are being traced only the number is known.
        check(
            "weights",
            weights,
            what,
            lambda: not weights or (min(weights) >= 0 and abs(sum(weights) - 1) < 1e-6),
        )

    @property
    def action_space(self) -> Box:
        number, most = self.prices.num_assets, jnp.asarray(self.max_hedge, float)
        if self.convex:
            nothing, all_ = jnp.zeros(number - 1), jnp.ones(number - 1)
            return Box(ConvexAction(-most, nothing), ConvexAction(most, all_))
        each = jnp.full(number, most)
        return Box(PortfolioAction(-each), PortfolioAction(each))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> PortfolioShock:
        key_price, key_spreads, key_clients = jax.random.split(key, 3)
        price, number = self.prices.shocks(key_price, shape), self.prices.num_assets
        return PortfolioShock(
            price=price,
            spreads=jax.random.normal(key_spreads, (*shape, number, 4)),
            clients=self.clients.shocks(key_clients, (*shape, number)),
            whole=whole_path_volatility(self.prices, price, shape, self.window, self.lookahead),
        )

    def reset(self, shock: PortfolioShock) -> tuple[PortfolioState, PortfolioObservation]:
        price = self.prices.reset(shock.price)
        mid = price.mid
        nothing = jnp.zeros((), mid.dtype)
        state = PortfolioState(
            price=price,
            volatility=RollingVolatility.start(mid, self.window, shock.whole),
            returns=jax.vmap(self.clients.start)(mid),
            cash=nothing,
            client_position=nothing,
            hedge_positions=jnp.zeros_like(mid),
        )
        return state, self._observe(state)

    def step(
        self, state: PortfolioState, action: PortfolioAction | ConvexAction, shock: PortfolioShock
    ) -> tuple[PortfolioState, Transition]:
        hedge, weights = self._hedges(action), self._weights(state.price.mid.dtype)
        held = weights * state.client_position + state.hedge_positions

        price = self.prices.step(state.price, shock.price)
        mid, before = price.mid, state.price.mid
        revaluation = (held * (mid - before)).sum()
        volatility = state.volatility.after(mid)
        returns = jax.vmap(self.clients.after)(state.returns, jnp.log(mid / before))

        # Sides stand in the order bid, ask.
        exchange = self.exchange_spread.half(shock.spreads[:, 2:], mid, volatility)
        sold_there, bought_there = jnp.maximum(-hedge, 0.0), jnp.maximum(hedge, 0.0)
        hedge_cost = (sold_there * exchange[:, 0] + bought_there * exchange[:, 1]).sum()

        rate, deviation = self.clients.rate(volatility), self.prices.return_std(state.price)
        trades = jax.vmap(self.clients.trades)(shock.clients, rate, returns, deviation)
        net = (weights * (trades[:, 0] - trades[:, 1])).sum()
        bought, sold = jnp.maximum(net, 0.0), jnp.maximum(-net, 0.0)
        client = weights @ self.client_spread.half(shock.spreads[:, :2], mid, volatility)
        blend, there = weights @ mid, weights @ exchange

        # Cash is kept from what is paid and received, apart from the attribution.
        paid = bought * (blend - client[0]) + (bought_there * (mid + exchange[:, 1])).sum()
        received = sold * (blend + client[1]) + (sold_there * (mid - exchange[:, 0])).sum()
        after = PortfolioState(
            price=price,
            volatility=volatility,
            returns=returns,
            cash=state.cash - paid + received,
            client_position=state.client_position + net,
            hedge_positions=state.hedge_positions + hedge,
        )
        mean, square = self.prices.position_moments(state.price, held)
        first, (value, over) = self.prices.initial_mid, self._values(after)
        inventory = value / first
        told = {
            "pnl": PnL(bought * client[0] + sold * client[1], -hedge_cost, revaluation, jnp.zeros_like(net)),
            "quotes": Quotes(
                blend, blend, blend - client[0], blend + client[1], blend - there[0], blend + there[1]
            ),
            "held": held @ before / first,
            "expected_inventory_pnl": mean,
            "inventory": inventory,
            "bought": bought,
            "sold": sold,
            "extras": HedgingExtras(
                expected_inventory_square=square,
                # A sum of log-normals has no closed form: the draw, whose mean is the same.
                expected_inventory_loss=jnp.minimum(revaluation, 0.0),
                client=after.client_position,
                hedges=after.hedge_positions,
                mids=mid,
                overhedge=over / first,
            ),
        }
        return after, Transition(
            observation=self._observe(after),
            terminated=jnp.abs(inventory) > self.breach * self.max_position,
            **jax.tree.map(lambda leaf: leaf[None], told),
        )

    def _hedges(self, action: PortfolioAction | ConvexAction) -> Float[Array, "assets"]:
        """Units of each asset to buy."""
        if isinstance(action, PortfolioAction):
            return jnp.clip(action.hedge[0], -self.max_hedge, self.max_hedge)
        amount = jnp.clip(jnp.asarray(action.amount)[0], -self.max_hedge, self.max_hedge)
        fractions = jnp.clip(action.fractions[0], 0.0, 1.0)
        left = jnp.concatenate([jnp.ones_like(fractions[:1]), jnp.cumprod(1 - fractions)])
        return amount * left * jnp.concatenate([fractions, jnp.ones_like(fractions[:1])])

    def _weights(self, dtype: np.dtype) -> Float[Array, "assets"]:
        number = self.prices.num_assets
        return (
            jnp.stack([jnp.asarray(w, dtype) for w in self.weights])
            if self.weights
            else jnp.full(number, 1 / number, dtype)
        )

    def _values(self, state: PortfolioState) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """V, and by how much its hedges are too much, in currency."""
        mid = state.price.mid
        hedges, client = state.hedge_positions * mid, state.client_position * (self._weights(mid.dtype) @ mid)
        too_much = (hedges * client > 0) | (jnp.abs(hedges) > jnp.abs(client))
        return client + hedges.sum(), jnp.where(too_much, jnp.abs(hedges + client), 0.0).sum()

    def _observe(self, state: PortfolioState) -> PortfolioObservation:
        mid = state.price.mid
        return PortfolioObservation(
            hedge_values=(state.hedge_positions * mid)[None] / 1000,
            net_value=self._values(state)[0][None] / 1000,
            mids=mid[None] if self.informed else None,
        )

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        return position_columns(transition)
