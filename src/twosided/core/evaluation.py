"""Evaluation of policies on common random numbers: earnings by source, risk and quotes, with standard errors.

Every policy meets the same arrivals, prices, books and tie-breaking draws: random inputs come from one key and do
not depend on policies. A path is one episode of the scenario's horizon. Paths of a simulated market are independent, so
the standard error of a mean over steps is that of the mean of path means. A smooth function f of several means m has
the error of its linear part, f'(m) · (m_i - m) over paths i (the delta method).

Episodes of a recorded history are not independent. There, blocks of the history take the place of paths in the errors
(`twosided.core.blocks`): the errors are those of the history as a sample of its process. Where the history is too
short, there are none.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.core.blocks import (
    PLACE,
    Blocks,
    block_values,
    history_blocks,
    place_of,
    rounded_off,
)
from twosided.core.formatting import Z_95, quantile_95
from twosided.core.market import Market
from twosided.core.numeric import as_arrays
from twosided.core.optimum import Optimum
from twosided.core.policy import Policy
from twosided.core.records import INDEPENDENT, NO_ERROR, Record, to_frame
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.transition import PARTS

BATCH_STEPS = 2**18
"""Market steps simulated at a time, all held in memory."""

VALID = "valid"
"""Name of an extra column of a trace: whether the episode was still running before the step."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of an episode's total PnL that are reported."""

EXACT = ("episodes", "inventory_min", "inventory_max")
"""Metrics that have no error."""

Estimate = tuple[float, float | None]
"""A value and its standard error."""


@overload
def evaluate(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    seed: int = 0,
    steps: int = 1_000_000,
    optimum: Optimum | float | None = None,
    study: str = "",
    progress: Callable[[str], None] = ...,
    *,
    as_frame: Literal[False] = False,
) -> list[Record]: ...


@overload
def evaluate(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    seed: int = 0,
    steps: int = 1_000_000,
    optimum: Optimum | float | None = None,
    study: str = "",
    progress: Callable[[str], None] = ...,
    *,
    as_frame: Literal[True],
) -> pl.DataFrame: ...


def evaluate(
    scenario: Scenario,
    policies: Mapping[str, Policy],
    seed: int = 0,
    steps: int = 1_000_000,
    optimum: Optimum | float | None = None,
    study: str = "",
    progress: Callable[[str], None] = lambda name: None,
    *,
    as_frame: bool = False,
) -> list[Record] | pl.DataFrame:
    """Evaluate each policy in the learner's seat on common random numbers, and measure every maker.

    Returns one record per policy, maker and metric, or with `as_frame` the same as a table (`twosided.to_frame`).

    `steps` is the number of market steps for each policy, rounded up to whole episodes and batches.
    `optimum` is the scenario's exact optimum (`twosided.optimum`), or a number: the supremum of own total PnL per
    step, in currency. With it the optimality gap is among the metrics.

    Metrics per step, in the market's units:

    - pnl_{part}, and excess_{part}_over_{seat}, the same less another maker's; reward of a learner;
    - market_share; sharpe, the mean over the standard deviation of a step's total PnL;
    - {inventory and each field of the action}_mean and _std; inventory_pnl_std; inventory_min and inventory_max;
    - optimality_gap, in percent of the optimum. Where the optimum is of PnL, it uses the conditional expectation of
      inventory PnL, which has the mean of the draws and far less noise.

    Metrics per episode:

    - episodes, the number of paths run; termination_rate, the share of them that the market ended;
    - episode_pnl_{part}, mean PnL of an episode; episode_pnl_std and episode_pnl_q05, _q25, _q50, _q75, _q95, the
      standard deviation and quantiles of its total;
    - final_inventory_mean and final_inventory_std, of the position after the last step.

    Each record states what its error is over (`error_over`): independent paths, or blocks of the market's history, and
    its degrees of freedom (`dof`). Where a history is too short for blocks that are longer than an episode, there is no
    error, and `error_over` gives the reason.

    An undefined metric, such as the Sharpe ratio of a maker that never trades, is left out. Where the market ends an
    episode, the remaining steps to the horizon count with a PnL and reward of 0; positions and actions are averaged
    over the steps before its end. Where a field of the action is a vector, as for a maker that quotes by tier,
    epsilon_buy is the mean of its entries, which are epsilon_buy_0, epsilon_buy_1, ...
    """
    supremum, metric = (
        (optimum.value, optimum.metric) if isinstance(optimum, Optimum) else (optimum, "pnl_total")
    )
    records, blocks = [], history_blocks(scenario)
    for case, policy in policies.items():
        progress(case)
        keys, paths = batches(scenario, seed, steps)
        means, lowest, highest, history = _measure(as_arrays(scenario), as_arrays(policy), keys, paths)
        means = {name: np.asarray(values, np.float64) for name, values in means.items()}
        sample = None if blocks is None else _BlockSample.of(blocks, history, means)
        for maker in range(scenario.market.num_makers):
            metrics = _all_metrics(scenario, means, maker, supremum, metric)
            over, dof = INDEPENDENT, len(means["volume"]) - 1
            if sample is not None:
                errors, over, dof = sample.errors(scenario, maker, supremum, metric), sample.over, sample.dof
                metrics = {name: (value, errors.get(name)) for name, (value, _) in metrics.items()}
            gap = {name: metrics.pop(name) for name in ("optimality_gap",) if name in metrics}
            extremes = {"inventory_min": float(lowest[maker]), "inventory_max": float(highest[maker])}
            metrics |= {name: (value, None) for name, value in extremes.items()} | gap
            for name, (value, error) in metrics.items():
                stated = _stated(name, value, error, over, dof)
                records.append(Record(case, maker, name, value, stated[0], seed, study, *stated[1:]))
    return to_frame(records) if as_frame else records


def _stated(
    name: str, value: float, error: float | None, over: str, dof: int
) -> tuple[float | None, int | None, str]:
    """Return the error of a metric, its degrees of freedom and its sample, or the reason why it is not known."""
    if name in EXACT:
        return None, None, ""
    if error is None:
        return (
            None,
            None,
            over if over.startswith(NO_ERROR) else f"{NO_ERROR}: {over} are too few for this metric",
        )
    return error, dof, over


def trace(scenario: Scenario, policy: Policy, seed: int = 0, paths: int = 64) -> pl.DataFrame:
    """Return every step of a number of episodes as a table, one row per step and maker.

    Columns: path, time, maker; mid, bid, ask, and exchange_bid, exchange_ask where the market shows them; inventory
    before the step; each part of the action, named as by `evaluate`; bought, sold; the market's own columns
    (`Market.trace_columns`); pnl_{part}. An episode that the market ends has no rows after its end.
    """
    return frame_of(_trace(as_arrays(scenario), as_arrays(policy), _evaluation_key(seed), paths))


def trace_columns(market: Market, step: Step) -> dict[str, Any]:
    """Return the columns of a trace for one step, for every maker."""
    transition, quotes = step.transition, step.transition.quotes
    kept = {"mid": quotes.mid, "bid": quotes.bid, "ask": quotes.ask}
    if quotes.exchange_bid is not None:
        kept |= {"exchange_bid": quotes.exchange_bid, "exchange_ask": quotes.exchange_ask}
    kept |= {"inventory": transition.held, **_action(step)}
    kept |= {"bought": transition.bought, "sold": transition.sold}
    kept |= market.trace_columns(transition)
    return kept | {f"pnl_{part}": getattr(transition.pnl, part) for part in PARTS}


def frame_of(steps: Mapping[str, Any]) -> pl.DataFrame:
    """Return a trace as a table, from columns with the axes (time, paths, makers)."""
    columns = {name: np.asarray(values) for name, values in steps.items()}
    valid = columns.pop(VALID, np.ones(columns["inventory"].shape, bool)).ravel()
    time, path, maker = np.indices(columns["inventory"].shape)
    columns = {"path": path, "time": time, "maker": maker} | columns
    frame = pl.DataFrame({name: values.ravel()[valid] for name, values in columns.items()})
    return frame.sort("path", "time", "maker")


def batches(scenario: Scenario, seed: int, steps: int) -> tuple[Any, int]:
    """Return a key for each batch of paths that together have at least `steps` steps, and the paths of a batch."""
    paths = max(1, min(BATCH_STEPS, steps) // scenario.horizon)
    return jax.random.split(_evaluation_key(seed), -(-steps // (paths * scenario.horizon))), paths


def _evaluation_key(seed: int) -> Any:
    """Key of a seed's evaluation, distinct from every key that training derives from the same seed."""
    return jax.random.fold_in(jax.random.key(seed), 2**32 - 1)


@eqx.filter_jit
def _trace(scenario: Scenario, policy: Policy, key: Any, paths: int) -> dict[str, Any]:
    def record(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
        return trace_columns(scenario.market, step) | {VALID: jnp.ones_like(step.transition.held, bool)}

    return episodes(scenario, policy, key, paths, record)


@eqx.filter_jit
def _measure(scenario: Scenario, policy: Policy, keys: Any, paths: int):
    """Path means of every quantity, (batches · paths, makers); the extremes of inventory, (makers,); and, with a
    history, the sums and numbers of steps of each batch in its blocks, and the places where episodes start, (batches,
    paths)."""
    blocks = history_blocks(scenario)

    def batch(key):
        kept = episodes(scenario, policy, key, paths, _quantities)
        place = kept.pop(PLACE, None)
        history = None
        if place is not None and blocks is not None and blocks.number:
            history = (*blocks.sums(place, kept), place[0] - 1)
        means = jax.tree.map(lambda leaf: leaf.mean(0), kept)
        last = jnp.maximum(kept["valid"].sum(0).astype(jnp.int32) - 1, 0)
        means["final_inventory"] = jnp.take_along_axis(kept["inventory"], last[None], 0)[0]
        return means, kept["inventory"].min((0, 1)), kept["inventory"].max((0, 1)), history

    means, lowest, highest, history = jax.lax.map(batch, keys)
    means = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), means)
    return means, lowest.min(0), highest.max(0), history


def _quantities(observation: Any, policy_state: Any, step: Step) -> dict[str, Any]:
    """Quantities of a step to average, for every maker; standard deviations use those named `_squared`."""
    transition = step.transition
    kept = {f"pnl_{part}": getattr(transition.pnl, part) for part in PARTS}
    kept["expected_total"] = kept["pnl_total"] - kept["pnl_inventory"] + transition.expected_inventory_pnl
    kept["volume"] = transition.bought + transition.sold
    kept["valid"] = jnp.ones_like(kept["volume"])
    kept["terminated"] = jnp.broadcast_to(step.terminated, kept["volume"].shape).astype(kept["volume"].dtype)
    kept["reward"] = jnp.zeros_like(kept["volume"]).at[: jnp.size(step.reward)].set(step.reward)
    varying = {"inventory": transition.inventory, "inventory_pnl": transition.pnl.inventory} | _action(step)
    squares = {f"{name}_squared": jnp.square(value) for name, value in varying.items()}
    kept |= varying | squares | {"pnl_total_squared": jnp.square(transition.pnl.total)}
    return kept | place_of(step)


def _action(step: Step) -> dict[str, Any]:
    """Fields of the action, one number per maker; for a field with several numbers, their mean and each of them."""
    parts: dict[str, Any] = {}
    for name, leaf in dataclasses.asdict(step.action).items():
        if leaf is None:  # a field that makers of this market do not use
            continue
        several = leaf.reshape(leaf.shape[0], -1)
        parts[name] = several.mean(1) if leaf.ndim > 1 else leaf
        if leaf.ndim > 1:
            parts |= {f"{name}_{i}": several[:, i] for i in range(several.shape[1])}
    return parts


def error_sample(blocks: Blocks | None, history: Any, means: Any) -> tuple[Any, str, int | None]:
    """Return the values whose standard errors as independent values are those of an evaluation, the sample that they
    are, and its degrees of freedom: path means, or in a market with a history the values of its blocks.

    Leaves of `means` are (paths, ...). `history` is the sums of each batch in the blocks, leaves (batches, blocks,
    ...), and the numbers of steps. Where the errors are not known, the values are None and the sample is the reason.
    """
    if blocks is None:
        return means, INDEPENDENT, len(jax.tree.leaves(means)[0]) - 1
    if history is None:
        return None, blocks.over, None
    sums, counts = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).sum(0), history)
    if not counts.all():
        return None, f"{NO_ERROR}: the evaluation has too few steps to visit all {blocks.over}", None
    return jax.tree.map(lambda leaf: block_values(leaf, counts), sums), blocks.over, blocks.number - 1


def _all_metrics(
    scenario: Scenario, means: dict[str, np.ndarray], maker: int, supremum: float | None, metric: str
) -> dict[str, Estimate]:
    """Metrics of a maker but the extremes of inventory, from path means of shape (paths, makers)."""
    metrics = _metrics(means, maker, scenario.horizon)
    if maker < scenario.learners:
        metrics["reward"] = mean(means["reward"][:, maker])
    if maker == 0 and supremum:
        reached = means["expected_total" if metric == "pnl_total" else metric][:, 0]
        metrics["optimality_gap"] = _times(100 / abs(supremum), mean(supremum - reached))
    return metrics


@dataclasses.dataclass(frozen=True)
class _BlockSample:
    """Blocks of a history as the sample of an evaluation."""

    blocks: Blocks
    values: dict[str, np.ndarray]
    """Values of each quantity of a step that take the place of path means, (blocks, makers)."""
    start: np.ndarray
    """Block in which each path starts, (paths,)."""
    means: dict[str, np.ndarray]
    """Path means."""
    over: str
    """Sample of the errors, or the reason why there are none; `values` is then empty."""

    @classmethod
    def of(cls, blocks: Blocks, history: Any, means: dict[str, np.ndarray]) -> "_BlockSample":
        values, over, _ = error_sample(blocks, None if history is None else history[:2], means)
        if values is None or history is None:
            return cls(blocks, {}, np.empty(0), means, over)
        values["final_inventory"] = values["inventory"]  # replaced by `errors`
        return cls(blocks, values, blocks.of_starts(np.asarray(history[2]).ravel()), means, over)

    @property
    def dof(self) -> int:
        return self.blocks.number - 1

    def errors(
        self, scenario: Scenario, maker: int, supremum: float | None, metric: str
    ) -> dict[str, float | None]:
        """Errors of the metrics of a maker. Episodes belong to the block in which they start."""
        if not self.values:
            return {}
        found = _all_metrics(scenario, self.values, maker, supremum, metric)
        total = scenario.horizon * self.means["pnl_total"][:, maker]
        final = self.means["final_inventory"][:, maker]
        found["episode_pnl_std"] = self._std(total)
        found |= {f"episode_pnl_q{100 * q:02.0f}": self._quantile(total, q) for q in QUANTILES}
        found["final_inventory_mean"] = mean(self._by_start(final)) if self._starts else _UNKNOWN
        found["final_inventory_std"] = self._std(final)
        return {name: rounded_off(*estimate) for name, estimate in found.items()}

    @property
    def _starts(self) -> bool:
        """Whether episodes start in every block."""
        return len(np.unique(self.start)) == self.blocks.number

    def _by_start(self, x: np.ndarray) -> np.ndarray:
        """Values of the blocks, from those of the paths that start in them."""
        number = self.blocks.number
        sums, counts = (np.bincount(self.start, weights, number) for weights in (x, np.ones_like(x)))
        return block_values(sums, counts)

    def _std(self, x: np.ndarray) -> Estimate:
        if not self._starts:
            return _UNKNOWN
        centred = x - x.mean()
        return _std_of_moments(self._by_start(centred), self._by_start(np.square(centred)))

    def _quantile(self, x: np.ndarray, q: float) -> Estimate:
        """Quantile with the error of the interval between order statistics, as in `quantile`: the share of values below
        it has its error over blocks (Woodruff 1952)."""
        if not self._starts:
            return _UNKNOWN
        ordered, rank, t = np.sort(x), q * (x.size - 1), quantile_95(self.dof)
        below = self._by_start((x <= np.interp(rank, np.arange(x.size), ordered)).astype(float))
        return _between_ranks(ordered, rank, t * (mean(below)[1] or 0.0) * x.size, t)


_UNKNOWN: Estimate = (0.0, None)


def _metrics(means: dict[str, np.ndarray], maker: int, horizon: int) -> dict[str, Estimate]:
    """Metrics of a maker, from path means of shape (paths, makers)."""
    own = {name: values[:, maker] for name, values in means.items()}
    out: dict[str, Estimate] = {}
    for part in PARTS:
        out[f"pnl_{part}"] = mean(own[f"pnl_{part}"])
        out[f"episode_pnl_{part}"] = _times(horizon, out[f"pnl_{part}"])
    for other in range(means["volume"].shape[1]):
        if other != maker:
            for part in PARTS:
                out[f"excess_{part}_over_{other}"] = mean(own[f"pnl_{part}"] - means[f"pnl_{part}"][:, other])
    if means["volume"].any():
        out["market_share"] = ratio(own["volume"], means["volume"].sum(1))
    out["termination_rate"] = _times(horizon, mean(own["terminated"]))
    if _std_of_moments(own["pnl_total"], own["pnl_total_squared"])[0] > 0:
        out["sharpe"] = _sharpe(own["pnl_total"], own["pnl_total_squared"])
    total = horizon * own["pnl_total"]
    out["episodes"] = float(total.size), None
    out["episode_pnl_std"] = _std(total)
    out |= {f"episode_pnl_q{100 * q:02.0f}": quantile(total, q) for q in QUANTILES}
    out["final_inventory_mean"], out["final_inventory_std"] = (
        mean(own["final_inventory"]),
        _std(own["final_inventory"]),
    )
    for squared in (name for name in own if name.endswith("_squared") and not name.startswith("pnl")):
        name = squared.removesuffix("_squared")
        values, squares = (_while_valid(own[each], own["valid"]) for each in (name, squared))
        out[f"{name}_mean"] = mean(values)
        out[f"{name}_std"] = _std_of_moments(values, squares)
    return out


def mean(x: np.ndarray) -> Estimate:
    """Mean over independent paths; a single path has no standard error."""
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else None


def _times(factor: float, estimate: Estimate) -> Estimate:
    value, error = estimate
    return factor * value, None if error is None else abs(factor) * error


def _linearized(value: float, *influences: np.ndarray) -> Estimate:
    return float(value), mean(np.sum(influences, axis=0))[1]


def ratio(x: np.ndarray, y: np.ndarray) -> Estimate:
    """mean(x) / mean(y)."""
    value = x.mean() / y.mean()
    return _linearized(value, x / y.mean(), -value * y / y.mean())


def _while_valid(x: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values with the mean mean(x) / mean(valid), whose deviations from it are the linear part of that ratio."""
    if (valid == 1).all():
        return x
    value = x.mean() / valid.mean()
    return value + (x - value * valid) / valid.mean()


def _std_of_moments(x: np.ndarray, squared: np.ndarray) -> Estimate:
    """Standard deviation √(mean(x²) - mean(x)²), from path means."""
    variance = squared.mean() - x.mean() ** 2
    # Rounding of a constant in float32 is not a standard deviation.
    if variance <= 1e-6 * squared.mean():
        return 0.0, 0.0
    std = np.sqrt(variance)
    return _linearized(std, squared / (2 * std), -x.mean() * x / std)


def _std(x: np.ndarray) -> Estimate:
    """Standard deviation over independent paths."""
    value, error = _std_of_moments(x - x.mean(), np.square(x - x.mean()))
    return value, error if x.size > 1 else None


def quantile(x: np.ndarray, q: float) -> Estimate:
    """Quantile of independent values.

    Its standard error is that of the 95% interval between order statistics, whose ranks are 1.96 standard deviations of
    the binomial distribution from the quantile's (Woodruff 1952); None where a rank lies outside the sample.
    """
    return _between_ranks(np.sort(x), q * (x.size - 1), Z_95 * np.sqrt(x.size * q * (1 - q)), Z_95)


def _between_ranks(ordered: np.ndarray, rank: float, reach: float, errors: float) -> Estimate:
    """Order statistic, and the half-width in `errors` of the interval between those at a distance from its rank."""
    value, low, high = np.interp([rank, rank - reach, rank + reach], np.arange(ordered.size), ordered)
    inside = rank - reach >= 0 and rank + reach <= ordered.size - 1
    return float(value), float((high - low) / (2 * errors)) if inside else None


def _sharpe(x: np.ndarray, squared: np.ndarray) -> Estimate:
    """Sharpe ratio mean(x) / √(mean(x²) - mean(x)²), from path means."""
    mean = x.mean()
    std = np.sqrt(squared.mean() - mean**2)
    by_mean = 1 / std + mean**2 / std**3
    return _linearized(mean / std, by_mean * x, -mean / (2 * std**3) * squared)
