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

from twosided.core.blocks import PLACE, history_blocks, place_of, rounded_off
from twosided.core.evaluation import batches, error_sample, mean, ratio
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
    per_step (currency per step); the standard error of each, and its degrees of freedom (dof) and sample
    (error_over) as in records. The same trades count at every k: those of steps that are followed by at least
    `lags` - 1 steps of the episode. A maker that never trades has no rows. Raises ValueError if `lags` is out of
    range.
    """
    check("lags", lags, f"from 1 to the horizon ({scenario.horizon})", 1 <= lags <= scenario.horizon)
    rows, blocks = [], history_blocks(scenario)
    for case, policy in policies.items():
        keys, paths = batches(scenario, seed, steps)
        means, history = _markouts(as_arrays(scenario), as_arrays(policy), keys, paths, lags)
        means = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), means)
        sample, over, dof = error_sample(blocks, history, means)
        for maker in np.flatnonzero(means["volume"].any(0)).tolist():
            for lag in range(lags + 1):
                found = [
                    (ratio(x["marks"][:, lag, maker], x["volume"][:, maker]), mean(x["marks"][:, lag, maker]))
                    for x in (means, means if sample is None else sample)
                ]
                row: list[Any] = [case, maker, lag]
                for (value, _), (_, error) in zip(*found, strict=True):
                    row += [value, None if sample is None else rounded_off(value, error)]
                rows.append((*row, dof, over))
    columns = {"case": pl.String, "maker": pl.Int64, "lag": pl.Int64}
    columns |= dict.fromkeys(("per_unit", "per_unit_error", "per_step", "per_step_error"), pl.Float64)
    columns |= {"dof": pl.Int64, "error_over": pl.String}
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
    records, blocks = [], history_blocks(scenario)
    for case, policy in policies.items():
        keys, paths = batches(scenario, seed, steps)
        means, history = _split(as_arrays(scenario), as_arrays(policy), keys, paths, jnp.asarray(window))
        means = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), means)
        sample, over, dof = error_sample(blocks, history, means)
        for maker in range(scenario.market.num_makers):
            for part in SPLIT:
                value, error = mean(means[part][:, maker])[0], None
                if sample is not None:
                    error = rounded_off(value, mean(sample[part][:, maker])[1])
                records.append(Record(case, maker, f"pnl_{part}", value, error, seed, study, dof, over))
    return records


@eqx.filter_jit
def _markouts(scenario: Scenario, policy: Policy, keys: Any, paths: int, lags: int):
    """Path means of the markouts, (batches · paths, lags + 1, makers), and of the traded volume; and, with a history,
    their sums in its blocks, and the numbers of steps."""
    counted, blocks = scenario.horizon - lags + 1, history_blocks(scenario)

    def record(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
        transition = step.transition
        kept = {
            "spread": transition.pnl.spread,
            "won": transition.bought - transition.sold,
            "volume": transition.bought + transition.sold,
            "mid": transition.quotes.mid,
            "mid_after": transition.quotes.mid_after,
        }
        return kept | place_of(step)

    def batch(key: Any):
        kept = episodes(scenario, policy, key, paths, record)
        mid = jnp.concatenate([kept["mid"], kept["mid_after"][-1:]])
        spread, won, volume = (kept[name][:counted] for name in ("spread", "won", "volume"))
        place = kept[PLACE][:counted] if blocks is not None and blocks.number else None

        def at(lag: Any):
            moved = jax.lax.dynamic_slice_in_dim(mid, lag, counted) - mid[:counted]
            mark = spread + won * moved
            return mark.mean(0), None if place is None or blocks is None else blocks.sums(place, mark)[0]

        marks, sums = jax.lax.map(at, jnp.arange(lags + 1))
        history = None
        if place is not None and blocks is not None:
            volumes, counts = blocks.sums(place, volume)
            history = {"marks": jnp.moveaxis(sums, 0, 1), "volume": volumes}, counts
        return {"marks": marks, "volume": volume.mean(0)}, history

    means, history = jax.lax.map(batch, keys)
    marks, volume = jnp.moveaxis(means["marks"], 1, 2), means["volume"]
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in (("marks", marks), ("volume", volume))}, history


@eqx.filter_jit
def _split(scenario: Scenario, policy: Policy, keys: Any, paths: int, window: Any):
    """Path means of the parts of SPLIT, (batches · paths, makers); and, with a history, their sums in its blocks, and
    the numbers of steps."""
    blocks = history_blocks(scenario)

    def record(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
        transition, quotes = step.transition, step.transition.quotes
        parts = {part: getattr(transition.pnl, part) for part in PARTS}
        moves = {"won": transition.bought - transition.sold, "move": quotes.mid_after - quotes.mid}
        return parts | moves | place_of(step)

    def batch(key: Any):
        kept = episodes(scenario, policy, key, paths, record)
        until = jnp.cumsum(kept.pop("won"), 0)
        before = jnp.arange(scenario.horizon) - window
        older = jnp.where(before[:, None, None] >= 0, until[jnp.maximum(before, 0)], 0.0)
        kept["adverse"] = (until - older) * kept.pop("move")
        kept["residual"] = kept.pop("inventory") - kept["adverse"]
        place, history = kept.pop(PLACE, None), None
        if place is not None and blocks is not None and blocks.number:
            history = blocks.sums(place, kept)
        return jax.tree.map(lambda leaf: leaf.mean(0), kept), history

    means, history = jax.lax.map(batch, keys)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), means), history
