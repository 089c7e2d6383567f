"""Makers that follow a fixed rule: the baselines of Ganesh et al. (2019), section 3.1, and one that joins two."""

import equinox as eqx
import jax
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy, StatelessPolicy
from twosided.core.validation import check
from twosided.dealer.market import DealerAction


class PersistentQuoter(StatelessPolicy):
    """Quotes the same epsilon on every step and hedges the same fraction of its inventory."""

    epsilon_buy: Scalar = 0.0
    """ε_b, the spread of its bid over the exchange's: S_ref (1 + ε_b); in [-1, 1]."""
    epsilon_sell: Scalar = 0.0
    """ε_s, the spread of its ask over the exchange's: S_ref (1 + ε_s); in [-1, 1]."""
    hedge: Scalar = 0.2
    """x, the fraction of its inventory that it hedges in a step; in [0, 1]."""

    def __check_init__(self):
        _check_epsilon(epsilon_buy=self.epsilon_buy, epsilon_sell=self.epsilon_sell)
        check("hedge", self.hedge, "in [0, 1]", lambda: 0 <= self.hedge <= 1)

    def act(self, shock, memory, observation):
        dtype = observation.inventory.dtype
        quotes = (self.epsilon_buy, self.epsilon_sell, self.hedge)
        return DealerAction(*(jnp.asarray(quote, dtype) for quote in quotes)), memory


class RandomQuoter(Policy):
    """Draws epsilon uniformly on each side, and the fraction to hedge uniformly, anew on every step."""

    low: Scalar = -1.0
    """Smallest ε; in [-1, 1]."""
    high: Scalar = 1.0
    """Largest ε; in [low, 1]."""
    hedge_low: Scalar = 0.0
    """Smallest fraction x of its inventory that it hedges in a step; in [0, 1]."""
    hedge_high: Scalar = 1.0
    """Largest fraction x of its inventory that it hedges in a step; in [hedge_low, 1]."""
    one_draw: bool = eqx.field(static=True, default=False)
    """Draw one ε for both sides (section 7.7) instead of one for each (section 3.1)."""

    def __check_init__(self):
        _check_epsilon(low=self.low, high=self.high)
        check("high", self.high, f"at least low ({self.low})", lambda: self.high >= self.low)
        check("hedge_low", self.hedge_low, "in [0, 1]", lambda: 0 <= self.hedge_low <= 1)
        in_range = f"in [hedge_low, 1] ([{self.hedge_low}, 1])"
        check("hedge_high", self.hedge_high, in_range, lambda: self.hedge_low <= self.hedge_high <= 1)

    def shocks(self, key, shape):
        uniform = jax.random.uniform(key, (3, *shape))
        return DealerAction(uniform[0], uniform[0] if self.one_draw else uniform[1], uniform[2])

    def init(self):
        return None

    def act(self, shock, memory, observation):
        width = self.high - self.low
        return DealerAction(
            epsilon_buy=self.low + width * shock.epsilon_buy,
            epsilon_sell=self.low + width * shock.epsilon_sell,
            hedge_fraction=self.hedge_low + (self.hedge_high - self.hedge_low) * shock.hedge_fraction,
        ), memory


def _check_epsilon(**values):
    for name, value in values.items():
        check(name, value, "in [-1, 1]", lambda value=value: -1 <= value <= 1)


class SplitPolicy(Policy):
    """Prices by one policy and hedges by another, to compare ways of hedging under the same prices."""

    pricing: Policy = PersistentQuoter()
    """Whose quotes it gives."""
    hedging: Policy = PersistentQuoter()
    """Whose fraction of the inventory it hedges."""

    def shocks(self, key, shape):
        key_pricing, key_hedging = jax.random.split(key)
        return self.pricing.shocks(key_pricing, shape), self.hedging.shocks(key_hedging, shape)

    def init(self):
        return self.pricing.init(), self.hedging.init()

    def act(self, shock, memory, observation):
        quotes, pricing = self.pricing.act(shock[0], memory[0], observation)
        hedge, hedging = self.hedging.act(shock[1], memory[1], observation)
        action = DealerAction(quotes.epsilon_buy, quotes.epsilon_sell, hedge.hedge_fraction)
        return action, (pricing, hedging)
