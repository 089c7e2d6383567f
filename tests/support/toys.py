"""Small market with known values and optimal actions, for tests of scenarios, learners and evaluation."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from twosided.core.market import Market
from twosided.core.numeric import Scalar
from twosided.core.spaces import Box, Discrete
from twosided.core.transition import PnL, Quotes, Transition


class Move(eqx.Module):
    """Action: one number per maker."""

    x: Float[Array, "*makers"]


class Seen(eqx.Module):
    """Observation of a maker."""

    age: Float[Array, "makers"]
    """Steps since the start of the episode; 0 if hidden."""
    coin: Float[Array, "makers"]
    """Coin of the next step, -1 or 1."""
    last: Float[Array, "makers"]
    """The maker's own last number."""


class ToyState(eqx.Module):
    age: Float[Array, ""]
    coin: Float[Array, ""]
    last: Float[Array, "makers"]


class Toy(Market):
    """Market that shows a fair coin, -1 or 1, before every step, and terminates after `lifetime` steps.

    A maker earns  income + coin_income · coin - sharpness · (x - goal - tilt · coin)²  per step, with x its number, or,
    if `delayed`, its number of the step before; and a bonus in the step that terminates.
    """

    income: Scalar = 0.0
    """Income of every step."""
    coin_income: Scalar = 0.0
    """Income times the coin shown before the step."""
    bonus: Scalar = 0.0
    """Income of the step in which the market terminates."""
    sharpness: Scalar = 0.0
    """Cost of the squared distance from the optimal number."""
    goal: Scalar = 0.0
    """Optimal number, averaged over the coin."""
    tilt: Scalar = 0.0
    """Change of the optimal number with the coin."""
    delayed: Scalar = 0.0
    """1 if a number takes effect one step later, else 0."""
    lifetime: Scalar = float("inf")
    """Steps after which the market terminates."""
    shows_age: Scalar = 1.0
    """1 if the age of the episode is observed, else 0."""
    space: Literal["box", "list"] = eqx.field(static=True, default="box")
    """Numbers in [-2, 4], or a list of -2, -1, ..., 4."""
    num_makers: int = eqx.field(static=True, default=1)

    @property
    def action_space(self) -> Box | Discrete:
        if self.space == "list":
            return Discrete(Move(jnp.arange(-2.0, 5.0)))
        return Box(low=Move(jnp.asarray(-2.0)), high=Move(jnp.asarray(4.0)))

    def shocks(self, key, shape) -> Bool[Array, "..."]:
        """Draw the next coin."""
        return jax.random.bernoulli(key, 0.5, shape)

    def reset(self, shock):
        state = ToyState(jnp.zeros(()), self._coin(shock), jnp.zeros(self.num_makers))
        return state, self._observe(state)

    def step(self, state, action, shock):
        x = jnp.where(jnp.asarray(self.delayed) > 0, state.last, action.x)
        distance = x - self.goal - self.tilt * state.coin
        after = ToyState(state.age + 1, self._coin(shock), action.x)
        terminated = after.age >= self.lifetime
        pay = self.income + self.coin_income * state.coin + jnp.where(terminated, self.bonus, 0.0)
        pay = pay - self.sharpness * jnp.square(distance)
        nothing = jnp.zeros(self.num_makers)
        return after, Transition(
            observation=self._observe(after),
            pnl=PnL(pay, nothing, nothing, nothing),
            quotes=Quotes(nothing, nothing, action.x, action.x),
            held=nothing,
            expected_inventory_pnl=nothing,
            inventory=nothing,
            bought=nothing,
            sold=nothing,
            terminated=terminated,
        )

    def _coin(self, shock):
        return jnp.where(shock, 1.0, -1.0)

    def _observe(self, state):
        everyone = jnp.ones(self.num_makers)
        return Seen(self.shows_age * state.age * everyone, state.coin * everyone, state.last)
