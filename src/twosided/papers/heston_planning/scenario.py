"""Scenario of Gore (2025), with all values of its code: a market maker on one-minute bars of a stock.

The fills differ: orders fill in the bar after the observed one, limit orders at their own price, both sides in the same
bar. The original code fills them in the observed bar, at a price drawn from it, and one side only.
"""

from twosided.bars.market import BarsMarket
from twosided.bars.rewards import ThresholdPenalty
from twosided.bars.source import BarSource, SimulatedBars
from twosided.core.scenario import Scenario
from twosided.heston.process import Heston
from twosided.limit_orders.fills import TouchFill

MINUTES = 525_600
"""Minutes in a year; one bar each."""


def one_minute_bars(source: BarSource | None = None, horizon: int = 1024) -> Scenario:
    """Return the scenario: 11 observed numbers, 5 action components, no short sales and no debt.

    Default bars: the Heston model in ten substeps, at the means of the priors of its parameters.
    """
    process = Heston(
        initial=10.0,
        initial_variance=0.2,
        mean_reversion=2.5,
        long_run_variance=0.2,
        vol_of_vol=0.3,
        correlation=-0.5,
        time_step=0.1 / MINUTES,
    )
    market = BarsMarket(
        source=source or SimulatedBars(process),
        fills=TouchFill(),
        max_offset=0.005,
        maker_fee=0.005,
        taker_fee=0.005,
        initial_inventory=10.0,
        min_inventory=0.0,
        max_inventory=1e6,
        initial_cash=100.0,
        min_cash=0.0,
        scaled=False,
    )
    return Scenario(market, (), ThresholdPenalty(), horizon)
