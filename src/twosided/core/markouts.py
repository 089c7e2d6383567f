"""Markouts: earnings of client trades some steps after they were made, and adverse selection.

The trades of a maker in step t, v_t = bought - sold in units, earn their spread at once. Every later move of the
midprice P revalues them, independently of later trades of the maker:

    markout at k      M(k) = E[spread PnL_t + v_t (P_{t+k} - P_t)]

M is flat if clients are uninformed. It falls if they are informed about the next k price moves. Adverse
selection over a window of K steps is the part of inventory PnL that falls on the trades of the last K steps; the
residual falls on older trades and on hedges:

    AS_t = (v_t + v_{t-1} + ... + v_{t-K+1}) (P_{t+1} - P_t),      inventory PnL_t = AS_t + residual_t

so that spread + adverse selection + residual + hedge + fees = total on every step. Over an episode of T steps AS sums
to Σ_t v_t (P_{min(t+K,T)} - P_t), the markouts at K less those at 0. Money is in the market's currency.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.core.evaluation import batches, mean, ratio
from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.transition import PARTS
from twosided.core.validation import check

SPLIT = ("spread", "adverse", "residual", "hedge", "fees", "total")
"""Parts of PnL with inventory PnL split in two, and their sum."""


def markouts(
    scenario: Scenario, policies: Mapping[str, Policy], lags: int = 20, seed: int = 0, steps: int = 1_000_000
) -> pl.DataFrame:
    """Return M(k) for k = 0..lags, for every maker, with each policy in the learner's seat.

    Columns: case, maker, lag (k, steps since the trade); per_unit (M(k) over the mean volume, currency per unit),
    per_step (currency per step), and the standard error of each. The same trades count at every k: those of steps
    that are followed by at least `lags` - 1 steps of the episode. A maker that never trades has no rows. Raises
    ValueError if `lags` is out of range.
    """
    check("lags", lags, f"from 1 to the horizon ({scenario.horizon})", 1 <= lags <= scenario.horizon)
    rows = []
    for case, policy in policies.items():
        keys, paths = batches(scenario, seed, steps)
        marks, volume = _markouts(as_arrays(scenario), as_arrays(policy), keys, paths, lags)
        marks, volume = np.asarray(marks, np.float64), np.asarray(volume, np.float64)
        for maker in np.flatnonzero(volume.any(0)).tolist():
            for lag in range(lags + 1):
                per_unit, per_step = ratio(marks[lag, :, maker], volume[:, maker]), mean(marks[lag, :, maker])
                rows.append((case, maker, lag, *per_unit, *per_step))
    columns = {"case": pl.String, "maker": pl.Int64, "lag": pl.Int64}
    columns |= dict.fromkeys(("per_unit", "per_unit_error", "per_step", "per_step_error"), pl.Float64)
    return pl.DataFrame(rows, schema=columns, orient="row")


def adverse_selection(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    window: int = 1,
    seed: int = 0,
    steps: int = 1_000_000,
    study: str = "",
) -> list[Record]:
    """Return PnL per step of every maker by part, with inventory PnL split into adverse selection and a residual.

    Metrics are pnl_{part} for the parts of SPLIT. `window` is K, the number of steps for which the revaluation of a
    trade counts as adverse selection. With the same seed and steps the paths are those of `evaluate`. Raises
    ValueError if `window` is out of range.
    """
    check("window", window, f"from 1 to the horizon ({scenario.horizon})", 1 <= window <= scenario.horizon)
    records = []
    for case, policy in policies.items():
        keys, paths = batches(scenario, seed, steps)
        split = _split(as_arrays(scenario), as_arrays(policy), keys, paths, jnp.asarray(window))
        for maker in range(scenario.market.num_makers):
            for part in SPLIT:
                value, error = mean(np.asarray(split[part][:, maker], np.float64))
                records.append(Record(case, maker, f"pnl_{part}", value, error, seed, study))
    return records


@eqx.filter_jit
def _markouts(scenario: Scenario, policy: Policy, keys: Any, paths: int, lags: int):
    """Path means of the markouts, (lags + 1, batches · paths, makers), and of the traded volume."""
    counted = scenario.horizon - lags + 1

    def record(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
        transition = step.transition
        return {
            "spread": transition.pnl.spread,
            "won": transition.bought - transition.sold,
            "volume": transition.bought + transition.sold,
            "mid": transition.quotes.mid,
            "mid_after": transition.quotes.mid_after,
        }

    def batch(key: Any):
        kept = episodes(scenario, policy, key, paths, record)
        mid = jnp.concatenate([kept["mid"], kept["mid_after"][-1:]])
        spread, won, volume = (kept[name][:counted] for name in ("spread", "won", "volume"))

        def at(lag: Any):
            moved = jax.lax.dynamic_slice_in_dim(mid, lag, counted) - mid[:counted]
            return (spread + won * moved).mean(0)

        return jax.lax.map(at, jnp.arange(lags + 1)), volume.mean(0)

    marks, volume = jax.lax.map(batch, keys)
    marks = jnp.moveaxis(marks, 0, 1)
    return marks.reshape(lags + 1, -1, marks.shape[-1]), volume.reshape(-1, volume.shape[-1])


@eqx.filter_jit
def _split(scenario: Scenario, policy: Policy, keys: Any, paths: int, window: Any) -> dict[str, Any]:
    """Path means of the parts of SPLIT, (batches · paths, makers)."""

    def record(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
        transition, quotes = step.transition, step.transition.quotes
        parts = {part: getattr(transition.pnl, part) for part in PARTS}
        return parts | {"won": transition.bought - transition.sold, "move": quotes.mid_after - quotes.mid}

    def batch(key: Any) -> dict[str, Any]:
        kept = episodes(scenario, policy, key, paths, record)
        until = jnp.cumsum(kept.pop("won"), 0)
        before = jnp.arange(scenario.horizon) - window
        older = jnp.where(before[:, None, None] >= 0, until[jnp.maximum(before, 0)], 0.0)
        kept["adverse"] = (until - older) * kept.pop("move")
        kept["residual"] = kept.pop("inventory") - kept["adverse"]
        return jax.tree.map(lambda leaf: leaf.mean(0), kept)

    means = jax.lax.map(batch, keys)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), means)
