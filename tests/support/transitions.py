"""Transitions of a hedging market, for tests of rewards."""

import jax.numpy as jnp

from twosided.core.transition import PnL, Quotes, Transition
from twosided.hedging.extras import HedgingExtras


def transition(inventory, terminated=False, overhedge=None, spread=5.0, hedge=-2.0, initial_price=100.0):
    """Return a transition of one maker with the given position after the step."""
    nothing = jnp.zeros(1)
    return Transition(
        observation=None,
        pnl=PnL(nothing + spread, nothing + hedge, nothing + 10.0, nothing - 0.5),
        quotes=Quotes(*[nothing] * 4),
        held=nothing,
        expected_inventory_pnl=nothing + 0.25,
        inventory=nothing + inventory,
        bought=nothing,
        sold=nothing,
        terminated=jnp.asarray(terminated),
        extras=HedgingExtras(
            expected_inventory_square=nothing + 4.0,
            expected_inventory_loss=nothing,
            client=nothing,
            hedges=nothing[:, None],
            mids=nothing[:, None],
            initial_price=nothing + initial_price,
            max_position=nothing + 256.0,
            overhedge=None if overhedge is None else nothing + overhedge,
        ),
    )
