"""Extras that the hedging markets report beside the fields of every market's transition."""

from typing import Any

from jaxtyping import Array, Float

from twosided.core.transition import Transition
from twosided.rewards.extras import InventoryMoments


class HedgingExtras(InventoryMoments):
    """Positions after the step by their origin, and the moments of inventory PnL; for every maker."""

    client: Float[Array, "*makers"]
    """Position from client trades, in units."""
    hedges: Float[Array, "*makers assets"]
    """Position from hedges in each asset, in units."""
    mids: Float[Array, "*makers assets"]
    """Midprice of each asset, in currency."""
    initial_price: Float[Array, "*makers"]
    """S_0, the midprice at the start of an episode, in currency."""
    max_position: Float[Array, "*makers"]
    """MaxPosLimit, the market's limit of the position, in units."""
    overhedge: Float[Array, "*makers"] | None = None
    """Amount by which the hedges of several assets exceed the client position or add to it, in units of the blend at
    its initial price; None in a market of one asset."""


def position_columns(transition: Transition) -> dict[str, Any]:
    """Return the positions as columns of a trace: client_position, hedge_position, net_position, and for several assets
    hedge_position_i and asset_mid_i."""
    extras: HedgingExtras = transition.extras
    columns = {"client_position": extras.client, "net_position": transition.inventory}
    columns |= {"hedge_position": extras.hedges.sum(-1)}
    for i in range(extras.hedges.shape[-1]) if extras.hedges.shape[-1] > 1 else ():
        columns |= {f"hedge_position_{i}": extras.hedges[:, i], f"asset_mid_{i}": extras.mids[:, i]}
    return columns
