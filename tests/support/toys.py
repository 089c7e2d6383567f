"""A tiny market whose every answer is known by hand, for the tests of scenarios, learners and evaluation."""

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
    """A number a maker."""

    x: Float[Array, "*makers"]


class Seen(eqx.Module):
    """What a maker sees: how old the episode is, a coin, and its own last number."""

    age: Float[Array, "makers"]
    coin: Float[Array, "makers"]
    last: Float[Array, "makers"]


class ToyState(eqx.Module):
    age: Float[Array, ""]
    coin: Float[Array, ""]
    last: Float[Array, "makers"]


class Toy(Market):
    """A fair coin is shown before every step, -1 or 1, and the market ends when it has lived long enough.

    A maker earns  income + coin_income · coin - sharpness · (judged - goal - tilt · coin)²,  where what is
    judged is its number, or, if `delayed`, the number before that; and a bonus when the market ends itself.
    """

    income: Scalar = 0.0
    """Paid on every step."""
    coin_income: Scalar = 0.0
    """Paid with the sign of the coin that was shown."""
    bonus: Scalar = 0.0
    """Paid with the step in which the market ends itself."""
    sharpness: Scalar = 0.0
    """How much a number off the goal costs."""
    goal: Scalar = 0.0
    """The best number on average over the coin."""
    tilt: Scalar = 0.0
    """How the best number moves with the coin."""
    delayed: Scalar = 0.0
    """1: a number is judged one step later."""
    lifetime: Scalar = float("inf")
    """Steps until the market ends itself."""
    shows_age: Scalar = 1.0
    """0: a maker does not see how old the episode is."""
    space: Literal["box", "list"] = eqx.field(static=True, default="box")
    """Numbers in [-2, 4], or one of -2, -1, ..., 4."""
    num_makers: int = eqx.field(static=True, default=1)

    @property
    def action_space(self) -> Box | Discrete:
        if self.space == "list":
            return Discrete(Move(jnp.arange(-2.0, 5.0)))
        return Box(low=Move(jnp.asarray(-2.0)), high=Move(jnp.asarray(4.0)))

    def shocks(self, key, shape) -> Bool[Array, "..."]:
        """The next coin."""
        return jax.random.bernoulli(key, 0.5, shape)

    def reset(self, shock):
        state = ToyState(jnp.zeros(()), self._coin(shock), jnp.zeros(self.num_makers))
        return state, self._observe(state)

    def step(self, state, action, shock):
        judged = jnp.where(jnp.asarray(self.delayed) > 0, state.last, action.x)
        missed = judged - self.goal - self.tilt * state.coin
        after = ToyState(state.age + 1, self._coin(shock), action.x)
        terminated = after.age >= self.lifetime
        pay = self.income + self.coin_income * state.coin + jnp.where(terminated, self.bonus, 0.0)
        pay = pay - self.sharpness * jnp.square(missed)
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
