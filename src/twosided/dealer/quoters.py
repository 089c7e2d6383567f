"""Baseline market makers of Ganesh et al. (2019), section 3.1 (persistent and random), and a combined policy."""

import equinox as eqx
import jax
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy, StatelessPolicy
from twosided.core.validation import check
from twosided.dealer.market import DealerAction


class PersistentQuoter(StatelessPolicy):
    """Persistent market maker: constant epsilons and a constant hedge fraction."""

    epsilon_buy: Scalar = 0.0
    """ε_b, in [-1, 1]; the half-spread of the bid is S_ref (1 + ε_b)."""
    epsilon_sell: Scalar = 0.0
    """ε_s, in [-1, 1]; the half-spread of the ask is S_ref (1 + ε_s)."""
    hedge: Scalar = 0.2
    """x, the fraction of the inventory hedged in each step, in [0, 1]."""

    def __check_init__(self):
        _check_epsilon(epsilon_buy=self.epsilon_buy, epsilon_sell=self.epsilon_sell)
        check("hedge", self.hedge, "in [0, 1]", lambda: 0 <= self.hedge <= 1)

    def act(self, shock, state, observation):
        dtype = observation.inventory.dtype
        quotes = (self.epsilon_buy, self.epsilon_sell, self.hedge)
        return DealerAction(*(jnp.asarray(quote, dtype) for quote in quotes)), state


class RandomQuoter(Policy):
    """Random market maker: ε_b, ε_s ~ Unif[low, high] and x ~ Unif[hedge_low, hedge_high], drawn anew in each step."""

    low: Scalar = -1.0
    """Smallest ε, in [-1, 1]."""
    high: Scalar = 1.0
    """Largest ε, in [low, 1]."""
    hedge_low: Scalar = 0.0
    """Smallest hedge fraction x, in [0, 1]."""
    hedge_high: Scalar = 1.0
    """Largest hedge fraction x, in [hedge_low, 1]."""
    symmetric: bool = eqx.field(static=True, default=False)
    """Quote one ε on both sides (section 7.7); by default each side has its own (section 3.1)."""

    def __check_init__(self):
        _check_epsilon(low=self.low, high=self.high)
        check("high", self.high, f"at least low ({self.low})", lambda: self.high >= self.low)
        check("hedge_low", self.hedge_low, "in [0, 1]", lambda: 0 <= self.hedge_low <= 1)
        in_range = f"in [hedge_low, 1] ([{self.hedge_low}, 1])"
        check("hedge_high", self.hedge_high, in_range, lambda: self.hedge_low <= self.hedge_high <= 1)

    def shocks(self, key, shape):
        uniform = jax.random.uniform(key, (3, *shape))
        return DealerAction(uniform[0], uniform[0] if self.symmetric else uniform[1], uniform[2])

    def init(self):
        return None

    def act(self, shock, state, observation):
        width = self.high - self.low
        return DealerAction(
            epsilon_buy=self.low + width * shock.epsilon_buy,
            epsilon_sell=self.low + width * shock.epsilon_sell,
            hedge_fraction=self.hedge_low + (self.hedge_high - self.hedge_low) * shock.hedge_fraction,
        ), state


def _check_epsilon(**values):
    for name, value in values.items():
        check(name, value, "in [-1, 1]", lambda value=value: -1 <= value <= 1)


class SplitPolicy(Policy):
    """Quotes of one policy and hedge fraction of another, to compare hedging rules under equal prices (section 7.6)."""

    pricing: Policy = PersistentQuoter()
    """Policy that sets ε_b and ε_s."""
    hedging: Policy = PersistentQuoter()
    """Policy that sets the hedge fraction x."""

    def shocks(self, key, shape):
        key_pricing, key_hedging = jax.random.split(key)
        return self.pricing.shocks(key_pricing, shape), self.hedging.shocks(key_hedging, shape)

    def init(self):
        return self.pricing.init(), self.hedging.init()

    def act(self, shock, state, observation):
        quotes, pricing = self.pricing.act(shock[0], state[0], observation)
        hedge, hedging = self.hedging.act(shock[1], state[1], observation)
        action = DealerAction(quotes.epsilon_buy, quotes.epsilon_sell, hedge.hedge_fraction)
        return action, (pricing, hedging)
