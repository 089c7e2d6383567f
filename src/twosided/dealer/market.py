"""The dealer market of Ganesh et al. (2019), sections 2 and 3: M makers compete for N investors' orders.

In a step from t to t+1, with P the midprice and S_ref the exchange's spread curve, both seen before acting:

    1. maker i quotes  bid P_t (1 - S_ref(v) (1 + ε_b)), ask P_t (1 + S_ref(v) (1 + ε_s))
       and hedges the fraction x of its inventory z with the exchange, at P_t |x z| S_ref(|x z|)
    2. every investor trades its order with the maker of the best price, ties 1/k each, trade by trade
    3. z' = (1 - x) z + what was won, and z' is revalued by P_{t+1} - P_t

    spread PnL     P_t Σ |v| S_ref(v) (1 + ε)       hedge PnL    - c P_t |x z| S_ref(|x z|)
    inventory PnL  z' (P_{t+1} - P_t)               total        their sum

Where investors know the midprice h steps ahead (flow.py), chance must say now what the price does then. With h = 1
that is the step's own innovation. With h > 1 the next h innovations are a queue in the state: a step uses the first
and appends a new last one. Nothing of it is shown to the makers.

Time is in years and a step is the price process's; money is in currency, inventory in units of trade;
S_ref is a fraction of the mid.
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
from twosided.core.validation import check, is_at_least
from twosided.dealer.investors import BUY, SELL, OrderFlow, UnitInvestors
from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot
from twosided.prices import GeometricBrownian, PriceProcess
from twosided.rewards.extras import InventoryMoments


class DealerAction(eqx.Module):
    """What a maker decides in a step; leaves with a leading axis of makers inside the market.

    Where makers quote by tier the epsilons have an axis of tiers behind it; one number is for all tiers.
    """

    epsilon_buy: Float[Array, "*makers"] | float
    """ε_b: the maker buys at P (1 - S_ref (1 + ε_b)); in [-1, 1]."""
    epsilon_sell: Float[Array, "*makers"] | float
    """ε_s: the maker sells at P (1 + S_ref (1 + ε_s)); in [-1, 1]."""
    hedge_fraction: Float[Array, "*makers"] | float
    """x: the fraction of the inventory to trade away on the exchange; in [0, 1]."""


class DealerObservation(eqx.Module):
    """What a maker sees before it acts (section 3.1), and its last inventory PnL (section 5).

    Investors are alike, or alike within a tier, so their trades enter as what was bought and sold, not one by one.
    """

    bought: Float[Array, "makers *tiers"]
    """Volume bought from investors in the last step, in units; by tier where makers quote by tier."""
    sold: Float[Array, "makers *tiers"]
    """Volume sold to investors in the last step, in units; by tier where makers quote by tier."""
    market_volume: Float[Array, "makers"]
    """Volume that investors traded in the last step with all makers, in units."""
    inventory: Float[Array, "makers"]
    """z, in units."""
    inventory_pnl: Float[Array, "makers"]
    """Inventory PnL of the last step, in currency."""
    mid: Float[Array, "makers"]
    """P, in currency."""
    spread: Float[Array, "makers"]
    """s_0, the exchange's quoted spread, a fraction of the mid."""
    volumes: Float[Array, "makers levels"]
    """What each level of the exchange's book holds, in units."""


class DealerShock(eqx.Module):
    """What chance decides in a step."""

    price: Any
    """The midprice's innovation; where investors know h > 1 of them, also the h that follow it (a leading axis)."""
    flow: Any
    book: BookShock
    """The book after the step."""


class DealerState(eqx.Module):
    """Where the market stands before the makers act."""

    price: Any
    book: Snapshot
    cash: Float[Array, "makers"]
    """From every trade at its own price, in currency; wealth is cash + inventory · mid."""
    inventory: Float[Array, "makers"]
    ahead: Any = None
    """The next innovations of the midprice, the first one first, where investors know more than one of them."""


class DealerMarket(Market):
    """Makers quote around an exchange's midprice and the best price wins each investor's order."""

    extras = InventoryMoments

    price: PriceProcess = GeometricBrownian()
    """How the midprice moves."""
    flow: OrderFlow = UnitInvestors()
    """Who wants to trade."""
    book: ReferenceBook = ReferenceBook()
    """The exchange's book, which gives S_ref."""
    hedge_cost: Scalar = 1.0
    """Multiplier c of the cost of hedging; 1 is the exchange's curve, 0 makes hedging free."""
    num_makers: int = eqx.field(static=True, default=2)
    """M, number of makers; a run takes it from its competitors."""
    by_tier: bool = eqx.field(static=True, default=False)
    """Makers quote each tier of investors its own epsilon, and see what each traded; else one epsilon is for all."""

    def __check_init__(self):
        check("num_makers", self.num_makers, "at least 1", self.num_makers >= 1)
        check("hedge_cost", self.hedge_cost, "at least 0 and finite", lambda: is_at_least(self.hedge_cost, 0))

    @property
    def action_space(self) -> Box:
        one = jnp.ones(self.flow.tiers) if self._by_tier else 1.0
        return Box(low=DealerAction(-one, -one, 0.0), high=DealerAction(one, one, 1.0))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> DealerShock:
        key_price, key_flow, key_book = jax.random.split(key, 3)
        known = (1 + self.flow.lookahead,) if self._queues else ()
        return DealerShock(
            price=self.price.shocks(key_price, (*shape, *known)),
            flow=self.flow.shocks(key_flow, shape, self.num_makers),
            book=self.book.shocks(key_book, shape),
        )

    def reset(self, shock: DealerShock) -> tuple[DealerState, DealerObservation]:
        first, ahead = (_first(shock.price), _rest(shock.price)) if self._queues else (shock.price, None)
        price, book = self.price.reset(first), self.book.snapshot(shock.book)
        nothing = jnp.zeros(self.num_makers, price.mid.dtype)
        state = DealerState(price=price, book=book, cash=nothing, inventory=nothing, ahead=ahead)
        nobody = jnp.zeros((self.num_makers, self.flow.tiers), price.mid.dtype) if self._by_tier else nothing
        return state, self._observe(state, nobody, nobody, nothing)

    def step(
        self, state: DealerState, action: DealerAction, shock: DealerShock
    ) -> tuple[DealerState, Transition]:
        mid, book = state.price.mid, state.book
        epsilon = jnp.clip(
            jnp.stack([self._to_tiers(action.epsilon_buy), self._to_tiers(action.epsilon_sell)], -1),
            -1.0,
            1.0,
        )
        hedge = jnp.clip(action.hedge_fraction, 0.0, 1.0)

        hedged = -hedge * state.inventory
        hedge_cost = self.hedge_cost * mid * book.cost(jnp.abs(hedged))

        price, moves, ahead = self._move(state, shock.price)
        best = epsilon == epsilon.min(axis=0)
        fills = self.flow.fills(shock.flow, best, book, moves)
        volume, earned = fills.volume, fills.value * (1 + epsilon)
        seen = volume
        if self.flow.tiers > 1:
            volume, earned = volume.sum(1), earned.sum(1)
            seen = seen if self.by_tier else volume
        spread = mid * (earned[:, BUY] + earned[:, SELL])
        bought, sold = volume[:, BUY], volume[:, SELL]
        won = bought - sold

        inventory = state.inventory + hedged + won
        inventory_pnl = inventory * (price.mid - mid)

        # Cash is kept from what is paid and received, apart from the attribution above.
        paid, received = mid * (bought - earned[:, BUY]), mid * (sold + earned[:, SELL])
        cash = state.cash - (hedged * mid + hedge_cost) - paid + received
        after = DealerState(price, self.book.snapshot(shock.book), cash, inventory, ahead)
        expected, square, loss = self._expected(state, inventory, inventory_pnl)
        return after, Transition(
            observation=self._observe(after, seen[..., BUY], seen[..., SELL], inventory_pnl),
            pnl=PnL(spread, -hedge_cost, inventory_pnl, jnp.zeros_like(spread)),
            quotes=self._quotes(state, epsilon, price.mid),
            held=state.inventory,
            expected_inventory_pnl=expected,
            inventory=inventory,
            bought=bought,
            sold=sold,
            terminated=jnp.zeros((), bool),
            extras=InventoryMoments(square, loss),
        )

    @property
    def _by_tier(self) -> bool:
        """Whether there is an axis of tiers in what makers do and see."""
        return self.by_tier and self.flow.tiers > 1

    @property
    def _queues(self) -> bool:
        """Whether investors know more of the midprice than the step's own innovation."""
        return self.flow.lookahead > 1

    def _to_tiers(self, epsilon: Any) -> Float[Array, "makers *tiers"]:
        """An epsilon for each tier, where there are several."""
        if self.flow.tiers == 1 or epsilon.ndim == 2:
            return epsilon
        return jnp.broadcast_to(epsilon[:, None], (self.num_makers, self.flow.tiers))

    def _move(self, state: DealerState, shock: Any) -> tuple[Any, Float[Array, "lookahead"] | None, Any]:
        """The price one step on, its moves as far ahead as investors know them, and the innovations then ahead."""
        if not self._queues:
            price = self.price.step(state.price, shock)
            return price, (price.mid - state.price.mid)[None] if self.flow.lookahead else None, None

        def one(price: Any, innovation: Any) -> tuple[Any, Any]:
            price = self.price.step(price, innovation)
            return price, price

        _, path = jax.lax.scan(one, state.price, state.ahead)
        last = jax.tree.map(lambda leaf: leaf[-1:], shock)
        ahead = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new]), state.ahead, last)
        return _first(path), path.mid - state.price.mid, ahead

    def _quotes(self, state: DealerState, epsilon: Float[Array, "makers *tiers 2"], mid_after: Any) -> Quotes:
        """At size 1: P (1 - S_ref(1) (1 + ε_b)) and P (1 + S_ref(1) (1 + ε_s)), the mean of all tiers' prices."""
        mid = state.price.mid
        half = mid * state.book.spread_curve(jnp.ones_like(mid))
        epsilon = epsilon.reshape(self.num_makers, -1, 2).mean(1)
        bid, ask = mid - half * (1 + epsilon[:, BUY]), mid + half * (1 + epsilon[:, SELL])
        return Quotes(jnp.full_like(bid, mid), jnp.full_like(bid, mid_after), bid, ask)

    def _expected(self, state: DealerState, inventory, inventory_pnl):
        """E[Y | state, action], E[Y²] and E[min(Y, 0)] of inventory PnL Y; itself where investors know it."""
        if self.flow.lookahead:
            return inventory_pnl, jnp.square(inventory_pnl), jnp.minimum(inventory_pnl, 0.0)
        return self.price.change_moments(state.price).of_position(inventory)

    def _observe(self, state: DealerState, bought, sold, inventory_pnl) -> DealerObservation:
        def everyone(value):
            return jnp.broadcast_to(value, (self.num_makers, *value.shape))

        return DealerObservation(
            bought=bought,
            sold=sold,
            market_volume=everyone((bought + sold).sum()),
            inventory=state.inventory,
            inventory_pnl=inventory_pnl,
            mid=everyone(state.price.mid),
            spread=everyone(state.book.spread),
            volumes=everyone(state.book.volumes),
        )

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.dealer.optimum import dealer_optimum

        return dealer_optimum(scenario)


def _first(queue: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], queue)


def _rest(queue: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[1:], queue)
