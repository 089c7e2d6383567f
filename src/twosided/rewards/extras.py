"""Extras of a transition that the rewards of this package use."""

import equinox as eqx
from jaxtyping import Array, Float


class InventoryMoments(eqx.Module):
    """Conditional moments of a step's inventory PnL Y, given the state and the actions, for every maker.

    A market in which trades depend on the price innovation reports the moments of the draw itself: Y² and min(Y, 0).
    """

    expected_inventory_square: Float[Array, "*makers"]
    """E[Y² | state, action], in currency squared."""
    expected_inventory_loss: Float[Array, "*makers"]
    """E[min(Y, 0) | state, action], in currency."""
