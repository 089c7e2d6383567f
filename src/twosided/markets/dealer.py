"""The dealer market of Ganesh et al. (2019), sections 2 and 3: M makers compete for N investors' orders.

In a step from t to t+1, with P the midprice and S_ref the exchange's spread curve, both seen before acting:

    1. maker i quotes  bid P_t (1 - S_ref(v) (1 + ε_b)), ask P_t (1 + S_ref(v) (1 + ε_s))
       and hedges the fraction x of its inventory z with the exchange, at P_t |x z| S_ref(|x z|)
    2. every investor trades its order with the maker of the best price, ties 1/k each, trade by trade
    3. z' = (1 - x) z + what was won, and z' is revalued by P_{t+1} - P_t

    spread PnL     P_t Σ |v| S_ref(v) (1 + ε)       hedge PnL    - c P_t |x z| S_ref(|x z|)
    inventory PnL  z' (P_{t+1} - P_t)               total        their sum

Time is in years and a step is the price process's; money is in currency, inventory in units of trade;
S_ref is a fraction of the mid.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.book import BookShock, ReferenceBook, Snapshot
from twosided.flow import BUY, SELL, OrderFlow, UnitInvestors
from twosided.markets.base import Market
from twosided.prices import GeometricBrownian, PriceProcess
from twosided.types import Box, PnL, Scalar, Transition, check, is_at_least


class DealerAction(eqx.Module):
    """What a maker decides in a step; leaves with a leading axis of makers inside the market."""

    epsilon_buy: Float[Array, "*makers"] | float
    """ε_b: the maker buys at P (1 - S_ref (1 + ε_b)); in [-1, 1]."""
    epsilon_sell: Float[Array, "*makers"] | float
    """ε_s: the maker sells at P (1 + S_ref (1 + ε_s)); in [-1, 1]."""
    hedge_fraction: Float[Array, "*makers"] | float
    """x: the fraction of the inventory to trade away on the exchange; in [0, 1]."""


class DealerObservation(eqx.Module):
    """What a maker sees before it acts (section 3.1), and its last inventory PnL (section 5).

    Investors are alike, so their trades enter as what was bought and sold, not one by one.
    """

    bought: Float[Array, "makers"]
    """Volume bought from investors in the last step, in units."""
    sold: Float[Array, "makers"]
    """Volume sold to investors in the last step, in units."""
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


class DealerMarket(Market):
    """Makers quote around an exchange's midprice and the best price wins each investor's order."""

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

    def __check_init__(self):
        check("num_makers", self.num_makers, "at least 1", self.num_makers >= 1)
        check("hedge_cost", self.hedge_cost, "at least 0 and finite", lambda: is_at_least(self.hedge_cost, 0))

    @property
    def action_space(self) -> Box:
        return Box(low=DealerAction(-1.0, -1.0, 0.0), high=DealerAction(1.0, 1.0, 1.0))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> DealerShock:
        key_price, key_flow, key_book = jax.random.split(key, 3)
        return DealerShock(
            price=self.price.shocks(key_price, shape),
            flow=self.flow.shocks(key_flow, shape, self.num_makers),
            book=self.book.shocks(key_book, shape),
        )

    def reset(self, shock: DealerShock) -> tuple[DealerState, DealerObservation]:
        price, book = self.price.reset(shock.price), self.book.snapshot(shock.book)
        nothing = jnp.zeros(self.num_makers, price.mid.dtype)
        state = DealerState(price=price, book=book, cash=nothing, inventory=nothing)
        return state, self._observe(state, nothing, nothing, nothing)

    def step(
        self, state: DealerState, action: DealerAction, shock: DealerShock
    ) -> tuple[DealerState, Transition]:
        space = self.action_space
        mid, book = state.price.mid, state.book
        epsilon = jnp.stack([action.epsilon_buy, action.epsilon_sell], -1)
        epsilon = jnp.clip(epsilon, space.low.epsilon_buy, space.high.epsilon_buy)
        hedge = jnp.clip(action.hedge_fraction, space.low.hedge_fraction, space.high.hedge_fraction)

        hedged = -hedge * state.inventory
        hedge_cost = self.hedge_cost * mid * book.cost(jnp.abs(hedged))

        best = epsilon == epsilon.min(axis=0)
        fills = self.flow.fills(shock.flow, best, book)
        earned = fills.value * (1 + epsilon)
        spread = mid * (earned[:, BUY] + earned[:, SELL])
        won = fills.volume[:, BUY] - fills.volume[:, SELL]

        inventory = state.inventory + hedged + won
        price = self.price.step(state.price, shock.price)
        inventory_pnl = inventory * (price.mid - mid)
        change = self.price.change(state.price)
        fall, rise = change.fall, change.mean - change.fall

        # Cash is kept from what is paid and received, apart from the attribution above.
        bought, sold = fills.volume[:, BUY], fills.volume[:, SELL]
        paid, received = mid * (bought - earned[:, BUY]), mid * (sold + earned[:, SELL])
        cash = state.cash - (hedged * mid + hedge_cost) - paid + received
        after = DealerState(price, self.book.snapshot(shock.book), cash, inventory)
        return after, Transition(
            observation=self._observe(after, bought, sold, inventory_pnl),
            pnl=PnL(spread, -hedge_cost, inventory_pnl, jnp.zeros_like(spread)),
            expected_inventory_pnl=inventory * change.mean,
            expected_inventory_square=jnp.square(inventory) * change.square,
            expected_inventory_loss=jnp.maximum(inventory, 0.0) * fall + jnp.minimum(inventory, 0.0) * rise,
            inventory=inventory,
            bought=bought,
            sold=sold,
            terminated=jnp.zeros((), bool),
        )

    def quoted(self, observed: DealerObservation, action: DealerAction) -> dict[str, Float[Array, "makers"]]:
        """At size 1: P (1 - S_ref(1) (1 + ε_b)) and P (1 + S_ref(1) (1 + ε_s))."""
        book = Snapshot(observed.spread, observed.volumes, jnp.full_like(observed.spread, self.book.tick))
        half = observed.mid * book.spread_curve(jnp.ones_like(observed.spread))
        bid = observed.mid - half * (1 + action.epsilon_buy)
        return {"mid": observed.mid, "bid": bid, "ask": observed.mid + half * (1 + action.epsilon_sell)}

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
