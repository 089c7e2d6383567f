"""Numbers printed by Ganesh et al. (2019).

PnL in their tables is that of a step, times 100, at a midprice that this project takes as 100.
"""

CITATION = "Ganesh et al. (2019), tables 1 and 3"


def _printed(table_1: tuple[float, ...], table_3: tuple[float, ...]) -> dict[str, float]:
    """Return a row of each table in our metrics and units."""
    parts = ("spread", "inventory", "hedge", "total")
    excess = {f"excess_{part}_over_1": x / 100 for part, x in zip(parts, table_1, strict=True)}
    epsilons = ("epsilon_sell_mean", "epsilon_sell_std", "epsilon_buy_mean", "epsilon_buy_std")
    return excess | dict(zip(epsilons, table_3, strict=True))


PUBLISHED = {
    "persistent-0": _printed((74.20, 0.20, 1.80, 76.20), (-0.22, 0.15, -0.22, 0.13)),
    "persistent-0.5": _printed((21.60, 0.40, 8.10, 29.30), (-0.60, 0.16, -0.60, 0.16)),
    "random-0.5": _printed((33.90, 0.40, 25.50, 59.70), (-0.20, 0.15, -0.20, 0.15)),
    "random-1": _printed((24.00, -0.70, 30.80, 54.10), (-0.03, 0.14, -0.03, 0.22)),
}
"""RL agent of the paper against each fixed competitor, PersistentQuoter(0), PersistentQuoter(-0.5), Unif[-0.5, 0.5] and
Unif[-1, 1]: mean excess PnL per step in currency, and its epsilons. The presets demo-NAME have these competitors."""
