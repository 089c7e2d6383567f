"""
Write your own market
=====================

A market is a class with an action space, shocks, a reset and a step. Write one in which a single maker chooses
its half-spread, solve it by hand, and train PPO on it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl

import twosided as ts
from twosided.plots import figure_learning, figure_lines

# %%
# In every step a client arrives, who wants to buy or sell one unit with equal probability. The client trades if the
# half-spread δ is at most a reservation half-spread, which is exponential with mean 1/k. The midprice is constant,
# so PnL is the spread earned: δ per trade, and δ exp(-k δ) per step on average. The optimum is δ = 1/k.


class Action(eqx.Module):
    """Action of the maker."""

    half_spread: jax.Array | float
    """δ, in currency."""


class Observation(eqx.Module):
    """Observation of the maker."""

    inventory: jax.Array
    """Inventory, in units."""


class Shock(eqx.Module):
    """Random inputs of a step, drawn in advance."""

    reservation: jax.Array
    """Largest half-spread at which the client trades, in currency."""
    sells: jax.Array
    """Whether the client sells, so that the maker buys."""


class OneClientMarket(ts.Market):
    """A maker and one client per step, around a constant midprice."""

    decay: float = 2.0
    """k, per unit of currency."""
    mid: float = 100.0
    """Midprice, in currency."""
    num_makers: int = eqx.field(static=True, default=1)
    """Number of makers; only 1."""

    @property
    def action_space(self):
        return ts.Box(low=Action(0.0), high=Action(3.0))

    def shocks(self, key, shape):
        key_reservation, key_side = jax.random.split(key)
        return Shock(
            reservation=jax.random.exponential(key_reservation, shape) / self.decay,
            sells=jax.random.bernoulli(key_side, 0.5, shape),
        )

    def reset(self, shock):
        inventory = jnp.zeros(1)
        return inventory, Observation(inventory)

    def step(self, state, action, shock):
        # Leaves have a leading axis of makers, here of length 1.
        delta = jnp.broadcast_to(jnp.clip(action.half_spread, 0.0, 3.0), (1,))
        trades = jnp.where(delta <= shock.reservation, 1.0, 0.0)
        bought, sold = trades * shock.sells, trades * ~shock.sells
        inventory = state + bought - sold
        mid, zero = jnp.full(1, self.mid), jnp.zeros(1)
        transition = ts.Transition(
            observation=Observation(inventory),
            pnl=ts.PnL(spread=delta * trades, hedge=zero, inventory=zero, fees=zero),
            quotes=ts.Quotes(mid=mid, mid_after=mid, bid=mid - delta, ask=mid + delta),
            held=state,
            expected_inventory_pnl=zero,
            inventory=inventory,
            bought=bought,
            sold=sold,
            terminated=jnp.zeros((), bool),
        )
        return inventory, transition


# %%
# A policy for the market, and its simulated value compared with the formula.


class FixedSpread(ts.Policy):
    """Constant half-spread."""

    half_spread: float

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Action(jnp.full_like(observation.inventory, self.half_spread)), state


scenario = ts.Scenario(OneClientMarket(), competitors=(), horizon=100)
spreads = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5]
records = ts.evaluate(scenario, {f"{d}": FixedSpread(d) for d in spreads}, steps=100_000, as_frame=True)
simulated = records.filter(pl.col("metric") == "pnl_total").select(
    pl.col("case").cast(pl.Float64).alias("half_spread"),
    pl.col("value").alias("pnl"),
    pl.col("error").alias("pnl_error"),
)
grid = jnp.linspace(0.05, 1.6, 60)
exact = pl.DataFrame({"half_spread": grid.tolist(), "pnl": (grid * jnp.exp(-2 * grid)).tolist()})
curves = pl.concat(
    [exact.with_columns(source=pl.lit("formula")), simulated.with_columns(source=pl.lit("simulated"))],
    how="diagonal",
)
figure_lines(
    curves, "half_spread", {"pnl": "PnL per step, currency"}, "source", x_title="half-spread, currency"
).show()

# %%
# Train PPO. Its learning curve approaches the optimum exp(-1)/k.

curves = []


def follow(progress):
    curves.append(pl.DataFrame({"seed": [0], **progress.curve}))


learner = ts.PPO(total_timesteps=200_000, gamma=0.0)
policies, _ = ts.train(scenario, learner, chunks=10, after_chunk=follow)
figure_learning(pl.concat(curves), optimum=float(jnp.exp(-1) / 2)).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/own_market.png'
