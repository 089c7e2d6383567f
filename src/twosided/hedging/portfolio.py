"""Market of a dealer that hedges a blended client flow with several assets (Bakshaev 2020, section 7).

Each asset k has its own price S_k, spreads and client flow n_k. Clients trade the blend with weights w:

    S = Σ w_k S_k, likewise bid and ask        (33)        n = Σ w_k n_k, netted, C' = C + n        (34)

The maker hedges asset by asset, h_k' = h_k + a_k, in the order of a step of `twosided.hedging.market`. Its exposure to
asset k is q_k = w_k C + h_k, which it does not observe, because it does not know w. It observes only

    h_k S_k of every asset, and the portfolio's value V = C S + Σ h_k S_k = Σ q_k S_k                   (35)

Hedges are independent, each a_k within ± max_hedge; or convex, with one amount a and fractions f (36, 37): a_1 = f_1 a,
of the remainder a_2 = f_2 (1 - f_1) a, and so on; the last asset takes the rest.

An asset is overhedged if |h_k S_k| exceeds |C S| or both have the same sign. The overhedge is |h_k S_k + C S| (38),
summed over such assets.

Inventory is V / S_0, in units of the blend at its initial price. The market terminates when its size exceeds
breach_multiple · max_position. The unit of time is one simulation of 512 steps. Money is in currency.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.dashboard import Dashboard
from twosided.core.market import Market
from twosided.core.metrics import MetricGroup
from twosided.core.numeric import Scalar
from twosided.core.spaces import Box
from twosided.core.transition import PnL, Quotes, Transition
from twosided.core.validation import check
from twosided.hedging.clients import PoissonClients, RollingReturns
from twosided.hedging.extras import HedgingExtras, position_columns
from twosided.hedging.market import check_parameters, mean_path_volatility
from twosided.hedging.spreads import RollingVolatility, StochasticSpread
from twosided.prices.assets import AssetPrices, AssetsState, EqualCorrelation


class PortfolioAction(eqx.Module):
    """Hedges of a step; leaves have a leading axis of makers inside the market."""

    hedge: Float[Array, "*makers assets"]
    """Units of each asset to buy on the exchange, negative to sell; within ± max_hedge."""


class ConvexAction(eqx.Module):
    """Hedges of a step as one amount that is divided among the assets."""

    amount: Float[Array, "*makers"] | float
    """Units to buy on the exchange, negative to sell; within ± max_hedge."""
    fractions: Float[Array, "*makers others"]
    """Fraction of the remainder that each asset but the last takes, in [0, 1]."""


class PortfolioObservation(eqx.Module):
    """Observation of the maker, as in the paper, and more if the market shows it."""

    hedge_values: Float[Array, "*makers assets"]
    """h_k S_k, in thousands of currency."""
    net_value: Float[Array, "*makers"]
    """V, in thousands of currency."""
    mids: Float[Array, "*makers assets"] | None = None
    """S_k, in currency."""


class PortfolioShock(eqx.Module):
    """Random inputs of a step; the axis of assets follows the batch axes."""

    price: Float[Array, "*batch assets"]
    """Shock of the price process."""
    spreads: Float[Array, "*batch assets 4"]
    """Standard normals: the client's bid and ask, the exchange's bid and ask."""
    clients: Float[Array, "*batch assets 3"]
    """Standard normals of the client flow."""
    path_volatility: Float[Array, "*batch assets"] | None
    """Mean σ_roll of an episode that starts at this step, if the market looks ahead; 0 if unknown."""


class PortfolioState(eqx.Module):
    """State of the market before the maker acts."""

    price: AssetsState
    """State of the price process."""
    volatility: RollingVolatility
    returns: RollingReturns
    cash: Float[Array, ""]
    """Cash from all trades at their own prices, in currency; wealth is cash + V."""
    client_position: Float[Array, ""]
    """C, position from client trades, in units of the blend."""
    hedge_positions: Float[Array, "assets"]
    """h_k, position from hedges, in units."""


class PortfolioMarket(Market):
    """Dealer that hedges a blended client flow with several assets."""

    takes_competitors = False
    extras = HedgingExtras

    prices: AssetPrices = EqualCorrelation()
    """Process of the assets' midprices, which determines the number of assets."""
    weights: tuple[float, ...] = ()
    """w_k, weight of each asset in client trades; they sum to 1. Equal weights if empty."""
    clients: PoissonClients = PoissonClients()
    """Client trade flow of each asset."""
    client_spread: StochasticSpread = StochasticSpread(multiplier=0.18)
    """Spread of each asset that the maker charges clients."""
    exchange_spread: StochasticSpread = StochasticSpread(multiplier=0.07)
    """Spread of each asset that the exchange charges the maker."""
    max_hedge: Scalar = 64.0
    """Largest hedge of a step, in units: of each asset, or of all assets together if convex."""
    max_position: Scalar = 256.0
    """MaxPosLimit, limit of the position, in units of the blend at its initial price."""
    breach_multiple: Scalar = 1.5
    """The market terminates when the position exceeds this multiple of max_position."""
    convex: bool = eqx.field(static=True, default=False)
    """Use one amount and its division among the assets as the action, instead of a hedge of each asset."""
    extended_observation: bool = eqx.field(static=True, default=False)
    """Show the maker the assets' midprices in addition to the values."""
    window: int = eqx.field(static=True, default=10)
    """Number of prices in the rolling volatility."""
    lookahead: int = eqx.field(static=True, default=0)
    """Steps of the path whose mean volatility, known in advance as in the paper, scales flow and spreads; with 0 it is
    the mean so far. See `HedgingMarket`."""
    num_makers: int = eqx.field(static=True, default=1)
    """Number of makers; must be 1, because the market has no competitors."""

    def __check_init__(self):
        check_parameters(self)
        num_assets, weights = self.prices.num_assets, self.weights
        constraint = f"one for each of the {num_assets} assets, at least 0, summing to 1"
        check("weights", len(weights), constraint, len(weights) in (0, num_assets))
        # Of traced weights only the number is known.
        check(
            "weights",
            weights,
            constraint,
            lambda: not weights or (min(weights) >= 0 and abs(sum(weights) - 1) < 1e-6),
        )

    @property
    def action_space(self) -> Box:
        num_assets, max_hedge = self.prices.num_assets, jnp.asarray(self.max_hedge, float)
        if self.convex:
            zeros, ones = jnp.zeros(num_assets - 1), jnp.ones(num_assets - 1)
            return Box(ConvexAction(-max_hedge, zeros), ConvexAction(max_hedge, ones))
        bound = jnp.full(num_assets, max_hedge)
        return Box(PortfolioAction(-bound), PortfolioAction(bound))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> PortfolioShock:
        key_price, key_spreads, key_clients = jax.random.split(key, 3)
        price, num_assets = self.prices.shocks(key_price, shape), self.prices.num_assets
        return PortfolioShock(
            price=price,
            spreads=jax.random.normal(key_spreads, (*shape, num_assets, 4)),
            clients=self.clients.shocks(key_clients, (*shape, num_assets)),
            path_volatility=mean_path_volatility(self.prices, price, shape, self.window, self.lookahead),
        )

    def reset(self, shock: PortfolioShock) -> tuple[PortfolioState, PortfolioObservation]:
        price = self.prices.reset(shock.price)
        mid = price.mid
        zero = jnp.zeros((), mid.dtype)
        state = PortfolioState(
            price=price,
            volatility=RollingVolatility.initial(mid, self.window, shock.path_volatility),
            returns=jax.vmap(self.clients.initial_returns)(mid),
            cash=zero,
            client_position=zero,
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
        volatility = state.volatility.update(mid)
        returns = jax.vmap(self.clients.update_returns)(state.returns, jnp.log(mid / before))

        # Sides are in the order bid, ask.
        exchange = self.exchange_spread.half_spread(shock.spreads[:, 2:], mid, volatility)
        hedge_sales, hedge_purchases = jnp.maximum(-hedge, 0.0), jnp.maximum(hedge, 0.0)
        hedge_cost = (hedge_sales * exchange[:, 0] + hedge_purchases * exchange[:, 1]).sum()

        rate, return_std = self.clients.rate(volatility), self.prices.return_std(state.price)
        trades = jax.vmap(self.clients.trades)(shock.clients, rate, returns, return_std)
        net = (weights * (trades[:, 0] - trades[:, 1])).sum()
        bought, sold = jnp.maximum(net, 0.0), jnp.maximum(-net, 0.0)
        client = weights @ self.client_spread.half_spread(shock.spreads[:, :2], mid, volatility)
        blend, blend_exchange = weights @ mid, weights @ exchange

        # Cash is computed from amounts paid and received, independently of the attribution.
        paid = bought * (blend - client[0]) + (hedge_purchases * (mid + exchange[:, 1])).sum()
        received = sold * (blend + client[1]) + (hedge_sales * (mid - exchange[:, 0])).sum()
        after = PortfolioState(
            price=price,
            volatility=volatility,
            returns=returns,
            cash=state.cash - paid + received,
            client_position=state.client_position + net,
            hedge_positions=state.hedge_positions + hedge,
        )
        mean, square = self.prices.position_moments(state.price, held)
        initial_mid, (value, overhedge) = self.prices.initial_mid, self._values(after)
        inventory = value / initial_mid
        fields = {
            "pnl": PnL(bought * client[0] + sold * client[1], -hedge_cost, revaluation, jnp.zeros_like(net)),
            "quotes": Quotes(
                blend,
                blend,
                blend - client[0],
                blend + client[1],
                blend - blend_exchange[0],
                blend + blend_exchange[1],
            ),
            "held": held @ before / initial_mid,
            "expected_inventory_pnl": mean,
            "inventory": inventory,
            "bought": bought,
            "sold": sold,
            "extras": HedgingExtras(
                expected_inventory_square=square,
                # The expectation for a sum of log-normals has no closed form, so the draw is reported.
                expected_inventory_loss=jnp.minimum(revaluation, 0.0),
                client=after.client_position,
                hedges=after.hedge_positions,
                mids=mid,
                initial_price=jnp.asarray(initial_mid, mid.dtype),
                max_position=jnp.asarray(self.max_position, mid.dtype),
                overhedge=overhedge / initial_mid,
            ),
        }
        return after, Transition(
            observation=self._observe(after),
            terminated=jnp.abs(inventory) > self.breach_multiple * self.max_position,
            time_step=jnp.asarray(self.prices.time_step, mid.dtype),
            **jax.tree.map(lambda leaf: leaf[None], fields),
        )

    def _hedges(self, action: PortfolioAction | ConvexAction) -> Float[Array, "assets"]:
        """Return the units of each asset to buy."""
        if isinstance(action, PortfolioAction):
            return jnp.clip(action.hedge[0], -self.max_hedge, self.max_hedge)
        amount = jnp.clip(jnp.asarray(action.amount)[0], -self.max_hedge, self.max_hedge)
        fractions = jnp.clip(action.fractions[0], 0.0, 1.0)
        remainder = jnp.concatenate([jnp.ones_like(fractions[:1]), jnp.cumprod(1 - fractions)])
        return amount * remainder * jnp.concatenate([fractions, jnp.ones_like(fractions[:1])])

    def _weights(self, dtype: np.dtype) -> Float[Array, "assets"]:
        num_assets = self.prices.num_assets
        return (
            jnp.stack([jnp.asarray(w, dtype) for w in self.weights])
            if self.weights
            else jnp.full(num_assets, 1 / num_assets, dtype)
        )

    def _values(self, state: PortfolioState) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return V and the overhedge, in currency."""
        mid = state.price.mid
        hedges, client = state.hedge_positions * mid, state.client_position * (self._weights(mid.dtype) @ mid)
        overhedged = (hedges * client > 0) | (jnp.abs(hedges) > jnp.abs(client))
        return client + hedges.sum(), jnp.where(overhedged, jnp.abs(hedges + client), 0.0).sum()

    def _observe(self, state: PortfolioState) -> PortfolioObservation:
        mid = state.price.mid
        return PortfolioObservation(
            hedge_values=(state.hedge_positions * mid)[None] / 1000,
            net_value=self._values(state)[0][None] / 1000,
            mids=mid[None] if self.extended_observation else None,
        )

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        return position_columns(transition)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.hedging.metrics import hedging_metrics

        return hedging_metrics(self.prices.num_assets)

    def dashboard(self) -> Dashboard:
        from twosided.hedging.dashboard import HedgingDashboard

        return HedgingDashboard()
