"""Makers that hedge their clients' trades by a fixed rule: the baselines of Bakshaev (2020), section 3.6, and more.

All of them see the position that their clients' trades and their own hedges have left, and none of them skews.
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
    """Never hedges."""

    def act(self, shock, memory, observation):
        return _hedge(jnp.zeros_like(observation.inventory), observation), memory


class FullHedger(Policy):
    """Hedges the whole position that it sees, every so many steps; the market executes it one step later.

    The market cuts the hedge to what it allows, 32 units as a rule: "clipped".
    """

    latency: int = eqx.field(static=True, default=1)
    """Steps from one hedge to the next."""

    def __check_init__(self):
        check("latency", self.latency, "from 1 to 1000000", 1 <= self.latency <= 1_000_000)

    def shocks(self, key, shape):
        return None

    def init(self) -> Int[Array, ""] | None:
        """Steps since the last hedge, if it has to count them; none at first, so that it begins with one."""
        return None if self.latency == 1 else jnp.zeros((), jnp.int32)

    def act(self, shock, memory, observation):
        if memory is None:
            return _hedge(-observation.inventory, observation), memory
        now = jnp.where(memory == 0, -observation.inventory, 0.0)
        return _hedge(now, observation), (memory + 1) % self.latency


class FractionalHedger(StatelessPolicy):
    """Hedges a fraction of the position on every step, within bounds, and leaves a band around 0 alone."""

    fraction: Scalar = 0.5
    """Of the position beyond the band; in [0, 1]."""
    largest: Scalar = 32.0
    """Most that it hedges in a step, in units."""
    band: Scalar = 0.0
    """Positions up to this size are left alone, in units."""

    def __check_init__(self):
        check("fraction", self.fraction, "in [0, 1]", lambda: 0 <= self.fraction <= 1)
        check("largest", self.largest, "positive and finite", lambda: is_positive(self.largest))
        check("band", self.band, "at least 0 and finite", lambda: is_at_least(self.band, 0))

    def act(self, shock, memory, observation):
        position = observation.inventory
        beyond = position - jnp.clip(position, -self.band, self.band)
        return _hedge(jnp.clip(-self.fraction * beyond, -self.largest, self.largest), observation), memory


class PortfolioHedger(StatelessPolicy):
    """Hedges a fraction of its exposure to every asset of a portfolio: a_k = -f (w_k C + h_k), for weights it is told.

    What it sees gives C S = V - Σ h_k S_k.
    """

    weights: tuple[float, ...] = ()
    """w_k, of each asset in what clients trade; none are equal weights."""
    fraction: Scalar = 1.0
    """f, of the exposure; in [0, 1]."""
    price: Scalar = 100.0
    """Of every asset, in currency, where the market shows none."""

    def __check_init__(self):
        check("fraction", self.fraction, "in [0, 1]", lambda: 0 <= self.fraction <= 1)
        check("price", self.price, "positive and finite", lambda: is_positive(self.price))

    def act(self, shock, memory, observation):
        number, dtype = observation.hedge_values.shape[-1], observation.hedge_values.dtype
        equal = jnp.full(number, 1 / number, dtype)
        weights = jnp.stack([jnp.asarray(w, dtype) for w in self.weights]) if self.weights else equal
        return PortfolioAction(-self.fraction * exposure(observation, weights, self.price)), memory


class ValueHedger(StatelessPolicy):
    """Hedges the value of a portfolio away, each asset a fixed share: a_k = -u_k V / S_k, whatever its weights."""

    shares: tuple[float, ...] = ()
    """u_k; none are equal shares."""
    price: Scalar = 100.0
    """Of every asset, in currency, where the market shows none."""

    def __check_init__(self):
        check("price", self.price, "positive and finite", lambda: is_positive(self.price))

    def act(self, shock, memory, observation):
        values = observation.hedge_values
        mids = jnp.full_like(values, self.price) if observation.mids is None else observation.mids
        equal = jnp.full_like(values, 1 / values.size)
        shares = jnp.stack([jnp.asarray(u, values.dtype) for u in self.shares]) if self.shares else equal
        # Values are seen in thousands.
        return PortfolioAction(-1000 * shares * observation.net_value / mids), memory


def exposure(
    observation: PortfolioObservation, weights: Float[Array, "assets"], price: Scalar
) -> Float[Array, "assets"]:
    """q_k = w_k C + h_k, in units; where the market does not show prices all are taken as `price`."""
    values = observation.hedge_values
    mids = jnp.full_like(values, price) if observation.mids is None else observation.mids
    client = (observation.net_value - values.sum()) / (weights @ mids)
    # Values are seen in thousands.
    return 1000 * (weights * client + values / mids)


def _hedge(units, observation: HedgingObservation) -> HedgingAction:
    return HedgingAction(hedge=units, skew=jnp.zeros_like(units))
