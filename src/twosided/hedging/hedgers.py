"""Hedging policies with fixed rules: the baselines of Bakshaev (2020), section 3.6, and variants.

All of them observe the net position of client trades and hedges, and none of them skews its prices.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy, StatelessPolicy
from twosided.core.validation import check, is_at_least, is_positive
from twosided.hedging.market import HedgingAction, HedgingObservation
from twosided.hedging.portfolio import PortfolioAction, PortfolioObservation


class NoHedger(StatelessPolicy):
    """Policy that never hedges."""

    def act(self, shock, state, observation):
        return _hedge(jnp.zeros_like(observation.inventory), observation), state


class FullHedger(Policy):
    """Policy that hedges the whole observed position at regular intervals.

    The market executes a hedge one step later, and clips it to `max_hedge`, 32 units by default.
    """

    interval: int = eqx.field(static=True, default=1)
    """Number of steps from one hedge to the next."""

    def __check_init__(self):
        check("interval", self.interval, "from 1 to 1000000", 1 <= self.interval <= 1_000_000)

    def shocks(self, key, shape):
        return None

    def init(self) -> Int[Array, ""] | None:
        """Return the number of steps since the last hedge, 0 in a step with a hedge; None with an interval of 1."""
        return None if self.interval == 1 else jnp.zeros((), jnp.int32)

    def act(self, shock, state, observation):
        if state is None:
            return _hedge(-observation.inventory, observation), state
        hedge = jnp.where(state == 0, -observation.inventory, 0.0)
        return _hedge(hedge, observation), (state + 1) % self.interval


class FractionalHedger(StatelessPolicy):
    """Policy that hedges a fraction of the position in every step, outside of a no-hedge band around 0."""

    fraction: Scalar = 0.5
    """Fraction of the position beyond the band that is hedged, in [0, 1]."""
    max_hedge: Scalar = 32.0
    """Largest hedge of a step, in units."""
    band: Scalar = 0.0
    """Half-width of the no-hedge band, in units."""

    def __check_init__(self):
        check("fraction", self.fraction, "in [0, 1]", lambda: 0 <= self.fraction <= 1)
        check("max_hedge", self.max_hedge, "positive and finite", lambda: is_positive(self.max_hedge))
        check("band", self.band, "at least 0 and finite", lambda: is_at_least(self.band, 0))

    def act(self, shock, state, observation):
        position = observation.inventory
        excess = position - jnp.clip(position, -self.band, self.band)
        hedge = jnp.clip(-self.fraction * excess, -self.max_hedge, self.max_hedge)
        return _hedge(hedge, observation), state


class PortfolioHedger(StatelessPolicy):
    """Policy that hedges a fraction of the exposure to each asset, a_k = -f (w_k C + h_k), given the weights.

    The client position C follows from the observation: C S = V - Σ h_k S_k.
    """

    weights: tuple[float, ...] = ()
    """w_k, weight of each asset in client trades; equal weights if empty."""
    fraction: Scalar = 1.0
    """f, fraction of the exposure that is hedged, in [0, 1]."""
    assumed_price: Scalar = 100.0
    """Price of every asset, in currency, if the market does not show midprices."""

    def __check_init__(self):
        check("fraction", self.fraction, "in [0, 1]", lambda: 0 <= self.fraction <= 1)
        check(
            "assumed_price",
            self.assumed_price,
            "positive and finite",
            lambda: is_positive(self.assumed_price),
        )

    def act(self, shock, state, observation):
        num_assets, dtype = observation.hedge_values.shape[-1], observation.hedge_values.dtype
        equal = jnp.full(num_assets, 1 / num_assets, dtype)
        weights = jnp.stack([jnp.asarray(w, dtype) for w in self.weights]) if self.weights else equal
        return PortfolioAction(-self.fraction * exposure(observation, weights, self.assumed_price)), state


class ValueHedger(StatelessPolicy):
    """Policy that hedges a fixed share of the portfolio's value in each asset, a_k = -u_k V / S_k, whatever the
    weights."""

    shares: tuple[float, ...] = ()
    """u_k, share of the value that is hedged in each asset; equal shares if empty."""
    assumed_price: Scalar = 100.0
    """Price of every asset, in currency, if the market does not show midprices."""

    def __check_init__(self):
        check(
            "assumed_price",
            self.assumed_price,
            "positive and finite",
            lambda: is_positive(self.assumed_price),
        )

    def act(self, shock, state, observation):
        values = observation.hedge_values
        mids = jnp.full_like(values, self.assumed_price) if observation.mids is None else observation.mids
        equal = jnp.full_like(values, 1 / values.size)
        shares = jnp.stack([jnp.asarray(u, values.dtype) for u in self.shares]) if self.shares else equal
        # Observed values are in thousands.
        return PortfolioAction(-1000 * shares * observation.net_value / mids), state


def exposure(
    observation: PortfolioObservation, weights: Float[Array, "assets"], assumed_price: Scalar
) -> Float[Array, "assets"]:
    """Return the exposure to each asset, q_k = w_k C + h_k, in units.

    If the market does not show midprices, all of them are taken to be `assumed_price`.
    """
    values = observation.hedge_values
    mids = jnp.full_like(values, assumed_price) if observation.mids is None else observation.mids
    client = (observation.net_value - values.sum()) / (weights @ mids)
    # Observed values are in thousands.
    return 1000 * (weights * client + values / mids)


def _hedge(units, observation: HedgingObservation) -> HedgingAction:
    return HedgingAction(hedge=units, skew=jnp.zeros_like(units))
