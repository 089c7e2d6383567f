"""The dealer market of Ganesh et al. (2019), sections 2 and 3: M market makers compete for the orders of N investors.

In the step from t to t+1, with the midprice P and the spread curve S_ref of the exchange, both observed before acting:

    1. maker i quotes  bid P_t (1 - S_ref(v) (1 + ε_b)), ask P_t (1 + S_ref(v) (1 + ε_s))
       and hedges the fraction x of its inventory z on the exchange, at the cost c P_t |x z| S_ref(|x z|)
    2. every investor trades its order with the maker that quotes the best price; each of k tied makers wins an order
       with probability 1/k
    3. z' = (1 - x) z + bought - sold, and z' is revalued by P_{t+1} - P_t

    spread PnL     P_t Σ |v| S_ref(v) (1 + ε)       hedge PnL    - c P_t |x z| S_ref(|x z|)
    inventory PnL  z' (P_{t+1} - P_t)               total PnL    sum of the three

Informed investors know the midprice h steps ahead (investors.py), so its innovations have to be drawn that early. With
h = 1 this is the innovation of the step itself. With h > 1 the next h innovations are a queue in the state: a step uses
the first one and appends a new one. Makers do not observe the queue.

Units: time in years, with the step of the price process; money in currency; inventory in units of trade; S_ref as a
fraction of the mid.
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
from twosided.core.validation import check, is_at_least
from twosided.dealer.investors import BUY, SELL, OrderFlow, UnitInvestors
from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot
from twosided.prices import GeometricBrownian, PriceProcess
from twosided.rewards.extras import InventoryMoments


class DealerAction(eqx.Module):
    """Action of a maker in a step; inside the market the leaves have a leading axis of makers.

    If makers quote by tier, the epsilons have a second axis of tiers; without it one epsilon applies to all tiers.
    """

    epsilon_buy: Float[Array, "..."] | float
    """ε_b, in [-1, 1]; the bid is P (1 - S_ref (1 + ε_b))."""
    epsilon_sell: Float[Array, "..."] | float
    """ε_s, in [-1, 1]; the ask is P (1 + S_ref (1 + ε_s))."""
    hedge_fraction: Float[Array, "*makers"] | float
    """x, the fraction of the inventory to hedge on the exchange, in [0, 1]."""


class DealerObservation(eqx.Module):
    """Observation of each maker before it acts (section 3.1), with its last inventory PnL (section 5).

    Trades enter as total volumes, not one by one, because the investors of a tier are indistinguishable.
    """

    bought: Float[Array, "..."]
    """Volume bought from investors in the last step, in units; by tier if makers quote by tier."""
    sold: Float[Array, "..."]
    """Volume sold to investors in the last step, in units; by tier if makers quote by tier."""
    market_volume: Float[Array, "*makers"]
    """Volume traded by investors with all makers in the last step, in units."""
    inventory: Float[Array, "*makers"]
    """Inventory z, in units."""
    inventory_pnl: Float[Array, "*makers"]
    """Inventory PnL of the last step, in currency."""
    mid: Float[Array, "*makers"]
    """Midprice P, in currency."""
    spread: Float[Array, "*makers"]
    """Quoted spread s_0 of the exchange, as a fraction of the mid."""
    volumes: Float[Array, "*makers levels"]
    """Volume of each level of the exchange's book, in units."""


class DealerShock(eqx.Module):
    """Random inputs of a step."""

    price: Any
    """Innovation of the midprice; if investors know h > 1 of them, this and the h that follow, on a leading axis."""
    flow: Any
    """Draws of the order flow."""
    book: BookShock
    """Draws of the book after the step."""


class DealerState(eqx.Module):
    """State of the market before the makers act."""

    price: Any
    """State of the price process."""
    book: Snapshot
    """Book of the exchange."""
    cash: Float[Array, "makers"]
    """Cash from all trades at their own prices, in currency; marked wealth is cash + inventory · mid."""
    inventory: Float[Array, "makers"]
    """Inventory z, in units."""
    queue: Any = None
    """The next innovations of the midprice, in order, if investors know more than one of them."""


class DealerMarket(Market):
    """Dealer market: makers quote around the midprice of an exchange, and the best quote wins each investor's order."""

    extras = InventoryMoments

    price: PriceProcess = GeometricBrownian()
    """Midprice process."""
    flow: OrderFlow = UnitInvestors()
    """Order flow of the investors."""
    book: ReferenceBook = ReferenceBook()
    """Order book of the exchange, which determines S_ref."""
    hedge_cost: Scalar = 1.0
    """Multiplier c of the cost of hedging, at least 0; 1 is the spread curve of the exchange, 0 makes hedging free."""
    num_makers: int = eqx.field(static=True, default=2)
    """M, number of makers; runs set it from their competitors."""
    by_tier: bool = eqx.field(static=True, default=False)
    """Makers quote ε_b and ε_s per investor tier and observe volumes by tier; if false, one quote is for all tiers."""

    def __check_init__(self):
        check("num_makers", self.num_makers, "at least 1", self.num_makers >= 1)
        check("hedge_cost", self.hedge_cost, "at least 0 and finite", lambda: is_at_least(self.hedge_cost, 0))

    @property
    def action_space(self) -> Box:
        one = jnp.ones(self.flow.tiers) if self._by_tier else 1.0
        return Box(low=DealerAction(-one, -one, 0.0), high=DealerAction(one, one, 1.0))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> DealerShock:
        key_price, key_flow, key_book = jax.random.split(key, 3)
        lookahead = (1 + self.flow.lookahead,) if self._has_queue else ()
        return DealerShock(
            price=self.price.shocks(key_price, (*shape, *lookahead)),
            flow=self.flow.shocks(key_flow, shape, self.num_makers),
            book=self.book.shocks(key_book, shape),
        )

    def reset(self, shock: DealerShock) -> tuple[DealerState, DealerObservation]:
        first, queue = (_first(shock.price), _rest(shock.price)) if self._has_queue else (shock.price, None)
        price, book = self.price.reset(first), self.book.snapshot(shock.book)
        zero = jnp.zeros(self.num_makers, price.mid.dtype)
        state = DealerState(price=price, book=book, cash=zero, inventory=zero, queue=queue)
        volume = jnp.zeros((self.num_makers, self.flow.tiers), price.mid.dtype) if self._by_tier else zero
        return state, self._observe(state, volume, volume, zero)

    def step(
        self, state: DealerState, action: DealerAction, shock: DealerShock
    ) -> tuple[DealerState, Transition]:
        mid, book = state.price.mid, state.book
        epsilon = jnp.clip(
            jnp.stack([self._per_tier(action.epsilon_buy), self._per_tier(action.epsilon_sell)], -1),
            -1.0,
            1.0,
        )
        hedge = jnp.clip(action.hedge_fraction, 0.0, 1.0)

        hedged = -hedge * state.inventory
        hedge_cost = self.hedge_cost * mid * book.cost(jnp.abs(hedged))

        price, moves, queue = self._move_price(state, shock.price)
        best = epsilon == epsilon.min(axis=0)
        fills = self.flow.fills(shock.flow, best, book, moves)
        volume, margin = fills.volume, fills.value * (1 + epsilon)
        observed = volume
        if self.flow.tiers > 1:
            volume, margin = volume.sum(1), margin.sum(1)
            observed = observed if self.by_tier else volume
        spread = mid * (margin[:, BUY] + margin[:, SELL])
        bought, sold = volume[:, BUY], volume[:, SELL]

        inventory = state.inventory + hedged + (bought - sold)
        inventory_pnl = inventory * (price.mid - mid)

        # Cash is accounted for from payments, independently of the attribution of PnL above.
        paid, received = mid * (bought - margin[:, BUY]), mid * (sold + margin[:, SELL])
        cash = state.cash - (hedged * mid + hedge_cost) - paid + received
        after = DealerState(price, self.book.snapshot(shock.book), cash, inventory, queue)
        expected, square, loss = self._inventory_moments(state, inventory, inventory_pnl)
        return after, Transition(
            observation=self._observe(after, observed[..., BUY], observed[..., SELL], inventory_pnl),
            pnl=PnL(spread, -hedge_cost, inventory_pnl, jnp.zeros_like(spread)),
            quotes=self._quotes(state, epsilon, price.mid),
            held=state.inventory,
            expected_inventory_pnl=expected,
            inventory=inventory,
            bought=bought,
            sold=sold,
            terminated=jnp.zeros((), bool),
            time_step=jnp.asarray(self.price.time_step, price.mid.dtype),
            extras=InventoryMoments(square, loss),
        )

    @property
    def _by_tier(self) -> bool:
        """Whether actions and observations have an axis of tiers."""
        return self.by_tier and self.flow.tiers > 1

    @property
    def _has_queue(self) -> bool:
        """Whether investors know more innovations of the midprice than that of the step."""
        return self.flow.lookahead > 1

    def _per_tier(self, epsilon: Any) -> Float[Array, "makers *tiers"]:
        """Broadcast an epsilon over tiers if there is more than one."""
        if self.flow.tiers == 1 or epsilon.ndim == 2:
            return epsilon
        return jnp.broadcast_to(epsilon[:, None], (self.num_makers, self.flow.tiers))

    def _move_price(
        self, state: DealerState, shock: Any
    ) -> tuple[Any, Float[Array, "lookahead"] | None, Any]:
        """Return the next price state, the moves of the midprice that investors know, and the next queue."""
        if not self._has_queue:
            price = self.price.step(state.price, shock)
            return price, (price.mid - state.price.mid)[None] if self.flow.lookahead else None, None

        def one(price: Any, innovation: Any) -> tuple[Any, Any]:
            price = self.price.step(price, innovation)
            return price, price

        _, path = jax.lax.scan(one, state.price, state.queue)
        last = jax.tree.map(lambda leaf: leaf[-1:], shock)
        queue = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new]), state.queue, last)
        return _first(path), path.mid - state.price.mid, queue

    def _quotes(self, state: DealerState, epsilon: Float[Array, "makers *tiers 2"], mid_after: Any) -> Quotes:
        """Return bid P (1 - S_ref(1) (1 + ε_b)) and ask P (1 + S_ref(1) (1 + ε_s)) of a unit, averaged over tiers."""
        mid = state.price.mid
        half = mid * state.book.spread_curve(jnp.ones_like(mid))
        epsilon = epsilon.reshape(self.num_makers, -1, 2).mean(1)
        bid, ask = mid - half * (1 + epsilon[:, BUY]), mid + half * (1 + epsilon[:, SELL])
        return Quotes(jnp.full_like(bid, mid), jnp.full_like(bid, mid_after), bid, ask)

    def _inventory_moments(self, state: DealerState, inventory, inventory_pnl):
        """Return E[Y], E[Y²] and E[min(Y, 0)] of inventory PnL Y given state and action.

        With informed investors trades depend on the innovation, and the values are those of the draw of Y.
        """
        if self.flow.lookahead:
            return inventory_pnl, jnp.square(inventory_pnl), jnp.minimum(inventory_pnl, 0.0)
        return self.price.change_moments(state.price).of_position(inventory)

    def _observe(self, state: DealerState, bought, sold, inventory_pnl) -> DealerObservation:
        def for_all_makers(value):
            return jnp.broadcast_to(value, (self.num_makers, *value.shape))

        return DealerObservation(
            bought=bought,
            sold=sold,
            market_volume=for_all_makers((bought + sold).sum()),
            inventory=state.inventory,
            inventory_pnl=inventory_pnl,
            mid=for_all_makers(state.price.mid),
            spread=for_all_makers(state.book.spread),
            volumes=for_all_makers(state.book.volumes),
        )

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.dealer.optimum import dealer_optimum

        return dealer_optimum(scenario)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.dealer.metrics import dealer_metrics

        return dealer_metrics(self)

    def dashboard(self) -> Dashboard:
        from twosided.dealer.dashboard import DealerDashboard

        return DealerDashboard()


def _first(queue: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], queue)


def _rest(queue: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[1:], queue)
