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
    """Action of a maker."""

    x: Float[Array, "*makers"]
    """Number chosen by each maker, in [-2, 4]."""


class Seen(eqx.Module):
    """Observation of a maker."""

    age: Float[Array, "makers"]
    """Steps since the start of the episode; 0 if `shows_age` is 0."""
    coin: Float[Array, "makers"]
    """Outcome of the coin for the next step, -1 or 1."""
    last: Float[Array, "makers"]
    """Last action of the maker."""


class ToyState(eqx.Module):
    age: Float[Array, ""]
    coin: Float[Array, ""]
    last: Float[Array, "makers"]


class Toy(Market):
    """Market with quadratic payoffs, in which a fair coin, -1 or 1, is observed before every step.

    The PnL of a step is  income + coin_income · coin - sharpness · (x - goal - tilt · coin)²,  with x the action, or
    the previous action if `delayed`. The market terminates after `lifetime` steps, with a bonus in the last one.
    """

    income: Scalar = 0.0
    """Income of every step."""
    coin_income: Scalar = 0.0
    """Income times the coin shown before the step."""
    bonus: Scalar = 0.0
    """Income of the step in which the market terminates."""
    sharpness: Scalar = 0.0
    """Cost per squared distance from the optimal action."""
    goal: Scalar = 0.0
    """Optimal action, averaged over the coin."""
    tilt: Scalar = 0.0
    """Change of the optimal action per unit of the coin."""
    delayed: Scalar = 0.0
    """1 if an action takes effect one step later, else 0."""
    lifetime: Scalar = float("inf")
    """Steps after which the market terminates."""
    shows_age: Scalar = 1.0
    """1 if the age of the episode is observed, else 0."""
    space: Literal["box", "list"] = eqx.field(static=True, default="box")
    """Action space: the interval [-2, 4], or the list -2, -1, ..., 4."""
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
