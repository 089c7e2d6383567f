"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Scalar = float | Float[Array, ""]
"""A numeric parameter: a Python float, or a traced array so that it can be vmapped and differentiated."""


PARTS = ("spread", "hedge", "inventory", "fees", "total")
"""The parts of PnL and their sum, as they are reported."""


class PnL(eqx.Module):
    """The attribution of every unit of money, in the market's currency; one entry a maker.

    The parts sum to the change of marked wealth, cash + inventory · mid, on every step of every path.
    """

    spread: Float[Array, "*makers"]
    """Earned on clients' trades over the mid: size · (mid - price), size > 0 when the maker buys."""
    hedge: Float[Array, "*makers"]
    """The same for trades with the exchange; a cost, so negative."""
    inventory: Float[Array, "*makers"]
    """Revaluation of the position held from t to t+1: position · (P_{t+1} - P_t)."""
    fees: Float[Array, "*makers"]
    """Fees less rebates; a cost is negative."""

    @property
    def total(self) -> Float[Array, "*makers"]:
        return self.spread + self.hedge + self.inventory + self.fees


class Quotes(eqx.Module):
    """The prices of a step, for every maker, in the market's currency."""

    mid: Float[Array, "makers"]
    """The midprice that the step's trades are measured against."""
    mid_after: Float[Array, "makers"]
    """The midprice that wealth is marked at when the step has ended."""
    bid: Float[Array, "makers"]
    """At which the maker buys from clients, a unit."""
    ask: Float[Array, "makers"]
    """At which it sells to them, a unit."""
    exchange_bid: Float[Array, "makers"] | None = None
    """At which it can sell on the exchange, where the market shows it."""
    exchange_ask: Float[Array, "makers"] | None = None
    """At which it can buy there."""


class Holdings(eqx.Module):
    """What a maker that hedges its clients' trades holds after the step, by where it came from; for every maker."""

    client: Float[Array, "makers"]
    """What clients have brought, in units."""
    hedges: Float[Array, "makers assets"]
    """What was traded on the exchange, asset by asset, in units."""
    mids: Float[Array, "makers assets"]
    """The assets' midprices, in currency."""


class Transition(eqx.Module):
    """What a step of a market gives, for every maker; the observation is the one before any reset."""

    observation: Any
    """The market's observation at t+1, leaves with a leading axis of makers."""
    pnl: PnL
    quotes: Quotes
    held: Float[Array, "makers"]
    """Position before the step's trades, in units."""
    expected_inventory_pnl: Float[Array, "makers"]
    """E[inventory PnL | state, action]: the price innovation's mean in place of its draw. Where the flow knows the
    innovation it is the draw, since trades then depend on it; so are the next two."""
    expected_inventory_square: Float[Array, "makers"]
    """E[inventory PnL² | state, action]."""
    expected_inventory_loss: Float[Array, "makers"]
    """E[min(inventory PnL, 0) | state, action]."""
    inventory: Float[Array, "makers"]
    """Position after the step's trades, in units."""
    bought: Float[Array, "makers"]
    """Volume bought from clients in the step, in units."""
    sold: Float[Array, "makers"]
    """Volume sold to clients in the step, in units."""
    terminated: Bool[Array, ""]
    """The market itself ended (a breach): nothing follows, so nothing is bootstrapped."""
    overhedge: Float[Array, "makers"] | None = None
    """Where several assets hedge one position: by how much they hedge beyond it, or add to it, in units."""
    holdings: Holdings | None = None
    """Where the market keeps clients' positions and their hedges apart."""


class Box(eqx.Module):
    """Continuous actions: an interval for every leaf of the action."""

    low: Any
    high: Any


class Discrete(eqx.Module):
    """A finite list of actions, stacked on the leading axis of every leaf."""

    actions: Any

    @property
    def size(self) -> int:
        return jax.tree.leaves(self.actions)[0].shape[0]


class Policy(eqx.Module):
    """What a maker does with what it sees.

    As in a market, chance stands apart from the rule: `shocks` draws whatever randomness the policy needs for
    many steps in one call, and `act` is deterministic given it.
    """

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """What chance decides about the actions, with the given leading axes; None if nothing."""

    @abc.abstractmethod
    def init(self) -> Any:
        """The memory before the first step. It outlives episodes; None if the policy has none."""

    @abc.abstractmethod
    def act(self, shock: Any, memory: Any, observation: Any) -> tuple[Any, Any]:
        """The action of one maker for its observation, and the memory."""


class Memoryless(Policy):
    """A policy that remembers nothing and draws nothing: what it does is a function of what it sees."""

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        return None

    def init(self) -> None:
        return None


def is_concrete(*values: Any) -> bool:
    """Whether the values can be compared now, that is, none is being traced by JAX."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check(name: str, value: Any, constraint: str, holds: Any) -> None:
    """Refuse a parameter in one sentence; traced and abstract values are not checked, nor what is held against them.

    `holds` is the condition, evaluated by the caller, or a function of no arguments where evaluating it
    on a traced value would fail. Raises ValueError.
    """
    concrete = isinstance(value, (int, float, np.ndarray, np.generic, jax.Array, tuple, list, str))
    if not concrete or not is_concrete(value):
        return
    satisfied: Any = holds() if callable(holds) else holds
    if is_concrete(satisfied) and not bool(np.all(satisfied)):
        raise ValueError(f"{name} must be {constraint}, but got {_show(value)}")


def _show(value: Any) -> str:
    return repr(value if isinstance(value, (int, float, str, tuple, list)) else np.asarray(value).tolist())


def check_seed(seed: int) -> None:
    """Raises ValueError for what is no seed."""
    check("seed", seed, "at least 0 and below 2^31", 0 <= seed < 2**31)


def is_positive(value: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) > 0)


def is_at_least(value: Any, bound: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) >= bound)


def as_arrays(tree: Any) -> Any:
    """Floats as arrays, so that a compiled program serves every value of a parameter."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)
