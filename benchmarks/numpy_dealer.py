"""The dealer market of `twosided.dealer.market` in plain NumPy: what one would write without JAX.

The same law and parameters (tests/test_benchmarks.py compares mean PnL within standard errors), for two makers that
follow fixed or random rules and unit investors, many markets at a time on the last, contiguous, axis. It has
every trick of the compiled one that NumPy can do: buys counted by population count of random bits, the spread
curve level by level, single precision. Chance is drawn step by step, which keeps it in the cache.
"""

import numpy as np

from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.dealer.reference_book import ReferenceBook

BUY, SELL = 0, 1


class NumpyDealer:
    """Markets side by side, with a policy in each of two seats; every episode lasts `horizon` steps."""

    def __init__(
        self,
        market: DealerMarket,
        makers: tuple[PersistentQuoter | RandomQuoter, PersistentQuoter | RandomQuoter],
        paths: int,
        horizon: int,
        seed: int,
    ):
        if market.flow.count > 32:
            raise ValueError(f"count must be at most 32 investors, one bit each, but got {market.flow.count}")
        self.market, self.makers, self.paths, self.horizon = market, makers, paths, horizon
        self.random = np.random.Generator(np.random.SFC64(seed))
        self._start()

    def step(self) -> dict[str, np.ndarray]:
        """One step of every market; what it earned, arrays of shape (makers, paths)."""
        if self.time == self.horizon:
            self._start()
        epsilon, hedge = self._quotes()
        mid, (spread, volumes) = self.mid, self.book
        hedged = -hedge * self.inventory
        hedge_cost = self.market.hedge_cost * mid * self._cost(np.abs(hedged), spread, volumes)

        won = self._won(epsilon)
        unit_price = self._cost(np.ones(self.paths, np.float32), spread, volumes)
        earned = mid * unit_price * (won * (1 + epsilon)).sum(1)

        self.inventory = self.inventory + hedged + won[:, BUY] - won[:, SELL]
        price = self.market.price
        variance = price.volatility**2 * price.time_step
        growth = price.drift * price.time_step - variance / 2 + np.sqrt(variance) * self._normal()
        self.mid = mid * np.exp(growth.astype(np.float32))
        self.book = self._snapshot(self.market.book)
        self.time += 1
        inventory_pnl = self.inventory * (self.mid - mid)
        self.last = (won[:, BUY], won[:, SELL], won.sum((0, 1)), inventory_pnl)
        return {"pnl_spread": earned, "pnl_hedge": -hedge_cost, "pnl_inventory": inventory_pnl}

    def observation(self) -> tuple[np.ndarray, ...]:
        """What the first maker sees, field by field, each of shape (paths,), and what each level holds."""
        bought, sold, volume, inventory_pnl = self.last
        spread, volumes = self.book
        return (bought[0], sold[0], volume, self.inventory[0], inventory_pnl[0], self.mid, spread, volumes)

    def _start(self):
        self.time = 0
        self.mid = np.full(self.paths, self.market.price.initial, np.float32)
        self.inventory = np.zeros((2, self.paths), np.float32)
        self.book = self._snapshot(self.market.book)
        self.last = (self.inventory, self.inventory, np.zeros(self.paths, np.float32), self.inventory)

    def _quotes(self) -> tuple[np.ndarray, np.ndarray]:
        """epsilon, of shape (makers, sides, paths), and the fraction hedged, (makers, paths)."""
        epsilon = np.empty((2, 2, self.paths), np.float32)
        hedge = np.empty((2, self.paths), np.float32)
        for i, maker in enumerate(self.makers):
            if isinstance(maker, RandomQuoter):
                uniform = self.random.random((3, self.paths), np.float32)
                epsilon[i] = maker.low + (maker.high - maker.low) * uniform[:2]
                hedge[i] = maker.hedge_low + (maker.hedge_high - maker.hedge_low) * uniform[2]
            else:
                epsilon[i, BUY], epsilon[i, SELL], hedge[i] = (
                    maker.epsilon_buy,
                    maker.epsilon_sell,
                    maker.hedge,
                )
        return epsilon, hedge

    def _won(self, epsilon: np.ndarray) -> np.ndarray:
        """Orders won, of shape (makers, sides, paths): all of a side at the better price, a coin each at a tie."""
        count = self.market.flow.count
        selling = self._bits() >> np.uint32(32 - count)
        orders = np.stack([selling, ~selling & np.uint32((1 << count) - 1)])
        number = np.bitwise_count(orders).astype(np.float32)
        tied = epsilon[0] == epsilon[1]
        first = np.where(epsilon[0] < epsilon[1], number, np.float32(0))
        if tied.any():
            lots = self._bits() >> np.uint32(32 - count)
            first = np.where(tied, np.bitwise_count(orders & lots), first)
        return np.stack([first, number - first])

    def _cost(self, size: np.ndarray, spread: np.ndarray, volumes: np.ndarray) -> np.ndarray:
        """size · S_ref(size), of the shape of size."""
        rest, beyond = size, np.zeros_like(size)
        for level in volumes[:-1]:
            rest = rest - level
            beyond += np.maximum(rest, 0)
        return spread / 2 * size + np.float32(self.market.book.tick) * beyond

    def _snapshot(self, book: ReferenceBook) -> tuple[np.ndarray, np.ndarray]:
        """s_0, of shape (paths,), and what each level holds, (levels, paths)."""
        spread = np.clip(
            book.spread_mean + book.spread_std * self._normal(), book.spread_min, book.spread_max
        )
        best = self.random.standard_gamma(book.best_volume_shape, self.paths, np.float32) / np.float32(
            book.best_volume_shape
        )
        first, second = self._normal(), self._normal()
        rho = book.depth_correlation
        linear = book.depth_linear + book.depth_linear_std * first
        quadratic = book.depth_quadratic + book.depth_quadratic_std * (
            rho * first + float(np.sqrt(1 - rho**2)) * second
        )
        n = np.arange(book.num_levels, dtype=np.float32)[:, None]
        shape = 1 + linear * n + quadratic * n**2
        return spread, book.volume_scale * best * np.maximum(shape, book.depth_floor)

    def _normal(self) -> np.ndarray:
        return self.random.standard_normal(self.paths, np.float32)

    def _bits(self) -> np.ndarray:
        return self.random.integers(0, 2**32, self.paths, np.uint32)
