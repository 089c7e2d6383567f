"""Electronic market of Chan and Shelton (2001): one maker, informed and uninformed traders, one event per step.

In a step from t to t+1, p* is the fundamental price, p^m the maker's, and I the imbalance: the sum of the orders
(+1 for a purchase, -1 for a sale by the trader) since the maker last changed its quote.

    1. the maker observes I and changes its quote,  p^m' = p^m + Δp
    2. one event:  p* rises or falls by a tick                    with probability λ_p each
                   an uninformed trader buys or sells             with probability λ_u each
                   an informed trader arrives                     with probability λ_i
       so 2 λ_p + 2 λ_u + λ_i = 1. The informed trader buys if p* > p^m, sells if p* < p^m and else does nothing
    3. the order x of one unit is filled at p^m', and  I' = x if Δp ≠ 0, else I + x

    spread PnL  x (p^m' - p*)       inventory PnL  z (p*' - p*)       total  their sum

The informed trader compares p* with the quote before the change, as in Phelps's listing (2022), so that an order
may be filled at another price than it was decided on. With `same_quote` the trader compares p* with the quote that
it trades at. The imbalance that the maker acts on excludes the order of the step itself. In Chan and Shelton's
extended model a bid and an ask replace p^m: `TwoSidedElectronicMarket`. Time is in events, prices are in ticks,
orders in units.
"""

import abc
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
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.core.spaces import Cells, Discrete
from twosided.core.transition import PnL, Quotes, Transition
from twosided.core.validation import check, is_at_least
from twosided.electronic.cells import ImbalanceCells
from twosided.rewards.extras import InventoryMoments

CHANGES = (-1.0, 0.0, 1.0)
"""Changes of a quote in a step, in ticks."""


class ElectronicAction(eqx.Module):
    """Action of a maker of one price."""

    change: Float[Array, "*makers"] | float
    """Δp, in ticks: -1, 0 or 1."""


class TwoSidedAction(eqx.Module):
    """Action of a maker of a bid and an ask."""

    change_bid: Float[Array, "*makers"] | float
    """Change of the bid, in ticks: -1, 0 or 1."""
    change_ask: Float[Array, "*makers"] | float
    """Change of the ask, in ticks: -1, 0 or 1."""


class ElectronicObservation(eqx.Module):
    """Observation of the maker before it acts."""

    imbalance: Float[Array, "*makers"]
    """I, orders to buy less orders to sell since the last quote change, in units."""
    inventory: Float[Array, "*makers"]
    """z, in units."""
    spread: Float[Array, "*makers"] | None
    """Ask less bid, in ticks; None where there is one price."""
    mispricing: Float[Array, "*makers"] | None
    """p* less the middle of the quotes, in ticks; None without full information."""


class ElectronicState(eqx.Module):
    """State of the market before the maker acts."""

    price: Float[Array, ""]
    """p*, in ticks."""
    bid: Float[Array, "makers"]
    """Bid, in ticks."""
    ask: Float[Array, "makers"]
    """Ask, in ticks."""
    imbalance: Float[Array, "makers"]
    """I, in units."""
    cash: Float[Array, "makers"]
    """Cash from every trade at its own price, in ticks; wealth is cash + inventory · p*."""
    inventory: Float[Array, "makers"]
    """z, in units."""


class _EventMarket(Market):
    """Base of the markets with one price and with two: events, trades and payments."""

    takes_competitors = False
    extras = InventoryMoments

    price_change: Scalar = 0.2
    """λ_p, probability that the fundamental price rises by a tick in a step, and the same for a fall."""
    uninformed: Scalar = 0.1
    """λ_u, probability that an uninformed trader buys in a step, and the same for a sale."""
    informed: Scalar = 0.4
    """λ_i, probability that an informed trader arrives in a step; 2 λ_p + 2 λ_u + λ_i = 1."""
    noise: Scalar = 0.0
    """Probability that an informed trader's estimate of the fundamental price is wrong by a tick, too high or too low
    with equal probability."""
    initial: Scalar = 200.0
    """p*_0, the fundamental price and the middle of the quotes at the start of an episode, in ticks."""
    same_quote: bool = eqx.field(static=True, default=False)
    """Informed traders decide on the quote that they trade at; otherwise on the one before the maker's change."""
    full_information: bool = eqx.field(static=True, default=False)
    """Show the maker the fundamental price as it was before the event of the step."""
    num_makers: int = eqx.field(static=True, default=1)
    """Always 1: the maker has no competitors."""

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.electronic.metrics import electronic_metrics

        return electronic_metrics()

    def dashboard(self) -> Dashboard:
        from twosided.electronic.dashboard import ElectronicDashboard

        return ElectronicDashboard()

    def __check_init__(self):
        alone = "1 in an electronic market, which takes no competitors"
        check("num_makers", self.num_makers, alone, self.num_makers == 1)
        for name in ("price_change", "uninformed", "informed", "noise"):
            value = getattr(self, name)
            check(
                name, value, "in [0, 1]", lambda value=value: is_at_least(value, 0) & (np.asarray(value) <= 1)
            )
        check("initial", self.initial, "finite", lambda: np.isfinite(self.initial))
        total = 2 * self.price_change + 2 * self.uninformed + self.informed
        name = "2 price_change + 2 uninformed + informed"
        check(name, total, "1", lambda: np.abs(np.asarray(total) - 1) < SUM_ERROR)

    @property
    def cells(self) -> Cells:
        return ImbalanceCells()

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw a uniform per event; its position within the informed trader's interval decides the trader's
        error about p*."""
        return jax.random.uniform(key, shape)

    def reset(self, shock: Float[Array, ""]) -> tuple[ElectronicState, ElectronicObservation]:
        nothing = jnp.zeros(self.num_makers, shock.dtype)
        price = jnp.asarray(self.initial, shock.dtype)
        half = jnp.asarray(self._first_spread, shock.dtype) / 2
        state = ElectronicState(price, price - half + nothing, price + half + nothing, *[nothing] * 3)
        return state, self.observe(state)

    def step(
        self, state: ElectronicState, action: Any, shock: Float[Array, ""]
    ) -> tuple[ElectronicState, Transition]:
        bid, ask = self._quotes(state, action)
        rise, fall, buys, sells, arrives, offset = self._event(shock)
        move = rise - fall
        price = state.price + move

        seen_bid, seen_ask = (bid, ask) if self.same_quote else (state.bid, state.ask)
        sold = buys + arrives * (price + offset > seen_ask)
        bought = sells + arrives * (price + offset < seen_bid)
        spread = sold * (ask - price) + bought * (price - bid)
        inventory = state.inventory + bought - sold
        inventory_pnl = state.inventory * move

        kept = jnp.where((bid != state.bid) | (ask != state.ask), 0.0, state.imbalance)
        cash = state.cash + sold * ask - bought * bid
        after = ElectronicState(price, bid, ask, kept + sold - bought, cash, inventory)
        nothing = jnp.zeros_like(spread)
        everyone = nothing + 1
        return after, Transition(
            observation=self.observe(after),
            pnl=PnL(spread, nothing, inventory_pnl, nothing),
            quotes=Quotes(state.price * everyone, price * everyone, bid, ask),
            held=state.inventory,
            # The price moves in steps without trades, by a tick up or down with equal probability.
            expected_inventory_pnl=nothing,
            inventory=inventory,
            bought=bought,
            sold=sold,
            terminated=jnp.zeros((), bool),
            extras=InventoryMoments(
                expected_inventory_square=2 * self.price_change * jnp.square(state.inventory),
                expected_inventory_loss=-self.price_change * jnp.abs(state.inventory),
            ),
        )

    @property
    @abc.abstractmethod
    def _first_spread(self) -> Scalar:
        """Ask less bid at the start of an episode."""

    @abc.abstractmethod
    def _quotes(
        self, state: ElectronicState, action: Any
    ) -> tuple[Float[Array, "makers"], Float[Array, "makers"]]:
        """Bid and ask after the maker's change."""

    @abc.abstractmethod
    def observe(self, state: ElectronicState) -> ElectronicObservation:
        """Return the maker's observation of a state."""

    def _event(self, shock: Float[Array, ""]) -> tuple[Float[Array, ""], ...]:
        """Indicators of the event (rise, fall, purchase, sale, arrival), and the arriving trader's error about p*."""
        moves, trades = 2 * self.price_change, 2 * self.uninformed
        ends = (self.price_change, moves, moves + self.uninformed, moves + trades)
        begins = (0.0, *ends[:-1])
        happened = [(shock >= begin) & (shock < end) for begin, end in zip(begins, ends, strict=True)]
        arrives = shock >= ends[-1]
        off = ends[-1] + self.informed * self.noise
        offset = jnp.where(shock < off, jnp.where(shock < (ends[-1] + off) / 2, -1.0, 1.0), 0.0)
        return tuple(one.astype(shock.dtype) for one in (*happened, arrives, offset))

    def _mispricing(self, state: ElectronicState) -> Float[Array, "makers"] | None:
        return state.price - (state.bid + state.ask) / 2 if self.full_information else None


class ElectronicMarket(_EventMarket):
    """Market of one price, which the maker moves by a tick, with informed and uninformed traders."""

    @property
    def action_space(self) -> Discrete:
        return Discrete(ElectronicAction(jnp.asarray(CHANGES)))

    @property
    def _first_spread(self):
        return 0.0

    def _quotes(self, state, action):
        return state.bid + action.change, state.ask + action.change

    def observe(self, state):
        return ElectronicObservation(state.imbalance, state.inventory, None, self._mispricing(state))

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.electronic.optimum import electronic_optimum

        return electronic_optimum(scenario)


class TwoSidedElectronicMarket(_EventMarket):
    """Market of a bid and an ask, each of which the maker moves by a tick, with informed and uninformed traders.

    A change that would make the spread smaller or larger than the market allows is not made, on either side. The
    imbalance is reset when either quote changes.
    """

    min_spread: Scalar = 0.0
    """Smallest spread, in ticks; the spread at the start of an episode."""
    max_spread: Scalar = 4.0
    """Largest spread, in ticks."""

    def __check_init__(self):
        check("min_spread", self.min_spread, "at least 0 and finite", lambda: is_at_least(self.min_spread, 0))
        over = f"at least min_spread ({self.min_spread}) and finite"
        check("max_spread", self.max_spread, over, lambda: is_at_least(self.max_spread, self.min_spread))

    @property
    def action_space(self) -> Discrete:
        bid, ask = jnp.meshgrid(jnp.asarray(CHANGES), jnp.asarray(CHANGES), indexing="ij")
        return Discrete(TwoSidedAction(bid.ravel(), ask.ravel()))

    @property
    def _first_spread(self):
        return self.min_spread

    def _quotes(self, state, action):
        bid, ask = state.bid + action.change_bid, state.ask + action.change_ask
        allowed = (ask - bid >= self.min_spread) & (ask - bid <= self.max_spread)
        return jnp.where(allowed, bid, state.bid), jnp.where(allowed, ask, state.ask)

    def observe(self, state):
        spread = state.ask - state.bid
        return ElectronicObservation(state.imbalance, state.inventory, spread, self._mispricing(state))


SUM_ERROR = 1e-6
"""Largest distance of the sum of the probabilities from 1, for rounding."""
