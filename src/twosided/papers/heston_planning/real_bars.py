"""Planning on real bars, whose files the user provides: trained, selected and tested on three successive parts.

There is no look-ahead: the parts follow each other in time, a fit uses only the bars of its window, and an order fills
in the next bar at the earliest, and only if the price goes through it. There are no fees and no rebates. Bid and ask
are those of the bars if they have both. PnL is that of one unit, in basis points of the price.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from twosided.bars.heston_bars import HestonBars
from twosided.bars.market import BarsMarket
from twosided.bars.source import RecordedBars
from twosided.core.bootstrap import block_length, block_resamples
from twosided.core.errors import Refusal
from twosided.core.evaluation import evaluate, trace
from twosided.core.policy import Policy
from twosided.core.records import Parameter, Record, combined_dof, find
from twosided.core.scenario import Scenario
from twosided.data.bar_files import FIELDS, read_bars
from twosided.data.bars import Bars
from twosided.data.formats import parse_columns
from twosided.learn.train import Progress, policies_of, train
from twosided.limit_orders.calibration import fit_fills
from twosided.limit_orders.policies import BuyAndHold, DoNothing, FixedOffset
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcome,
    Outcomes,
    Report,
    Row,
    Table,
    all_of,
    dash_case,
    greater,
    record_of,
    records_of,
    select_one,
)
from twosided.papers.heston_planning.common import MODEL_LABELS, constant, doubled, fitted, learner
from twosided.papers.learning import Parameters, labelled
from twosided.plots import figure_lines
from twosided.rewards import InventoryPenalty

SHARES = (0.6, 0.2, 0.2)
"""Shares of the bars for training, selection and test."""
WINDOW, BLOCK = 2000, 20
"""Bars of a fit, and of a block."""
RISK_AVERSION = 0.1
"""Cost of holding a unit for a bar, relative to the standard deviation of the price over a bar. The closed-form quotes
have the risk aversion with the same cost."""
MAX_OFFSET = 5.0
"""Largest offset, in standard deviations of a bar's return."""
OFFSETS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Offsets of makers with a fixed offset, in the same unit."""
MAX_INVENTORY = 2
"""Largest inventory, long or short, in units."""
CHECKPOINTS = 10
"""Number of policies of a training, of which the best on the second part is tested."""
RESAMPLES = 2000
METRICS = {"pnl": 1, "edge": 1, "sharpe": 2, "drawdown": 1, "position": 2, "turnover": 0}
"""Metrics, and the digits to show."""
MIN_BARS = 1000
"""Smallest number of bars of a history."""


@dataclasses.dataclass(frozen=True)
class History:
    """Bars in three parts, one after the other, and their units."""

    parts: tuple[Bars, Bars, Bars]
    std: float
    """Standard deviation of a bar's return in the first part, a fraction of the price."""
    price: float
    """Mean close of the first part."""
    bars_per_day: float
    """Bars in a day of trading."""

    @classmethod
    def read(cls, budget: Budget) -> "History":
        columns = parse_columns(budget.columns, FIELDS)
        bars = read_bars(*budget.bars, timezone=budget.timezone, columns=columns, format=budget.format)
        if len(bars) < MIN_BARS:
            raise Refusal(
                f"{', '.join(budget.bars)}: the study needs at least {MIN_BARS} bars, but there are {len(bars)}"
            )
        _ = bars.years_per_bar  # refuses too short a history before anything runs
        ends = np.round(np.cumsum(SHARES) * len(bars)).astype(int)
        first, second, last = (bars[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
        if budget.quick:
            first = first[-1500:]
        std, price = float(first.returns.std()), float(first.price.close.mean())
        return cls((first, second, last), std, price, bars.bars_per_day)

    def scenario(self, part: int) -> Scenario:
        """Scenario of one pass through a part."""
        bars = self.parts[part]
        market = BarsMarket(
            source=RecordedBars.of(bars),
            sizes=False,
            max_offset=MAX_OFFSET * self.std,
            min_inventory=-MAX_INVENTORY,
            max_inventory=MAX_INVENTORY,
        )
        penalty = InventoryPenalty(running=RISK_AVERSION * self.std * self.price)
        return Scenario(market, (), penalty, len(bars) - 2)

    def test(
        self, parameters: Parameters, makers: tuple[Policy, ...], seed: int
    ) -> tuple[list[Record], pl.DataFrame]:
        """Metrics of makers on the last part, means over the makers, and the curve of their mean PnL.

        pnl: over the part, basis points; edge: the PnL of trades up to the close of their bar, the rest being that of
        inventory held from before, whose expectation is zero if the price is a martingale; sharpe: of a day; drawdown:
        the largest, basis points; position: mean size; turnover: units per day. Errors are by block bootstrap of the
        bars (Politis & White 2004) and, with several makers, of their variation too.
        """
        scenario = self.scenario(2)
        moves = np.diff(self.parts[2].price.close)[: scenario.horizon]
        booked = np.stack([self._booked(trace(scenario, maker, seed, 1), moves) for maker in makers])
        # Of each maker alone: the average of several makers has less risk than any of them.
        each = self._metrics(booked)
        # PnL is almost white noise; inventory and trades are not, and need longer blocks.
        errors = np.concatenate(
            [self._errors(booked, slice(0, 2), seed)[:4], self._errors(booked, slice(2, 4), seed)[4:]]
        )
        between = np.zeros_like(errors)
        if len(makers) > 1:
            between = each.std(1, ddof=1) / len(makers) ** 0.5
        dofs = [
            combined_dof((own, None), (seeds, len(makers) - 1))
            for own, seeds in zip(errors, between, strict=True)
        ]
        errors = np.hypot(errors, between)
        records = [
            dataclasses.replace(record_of(parameters, name, float(x), float(error)), dof=dof)
            for name, x, error, dof in zip(METRICS, each.mean(1), errors, dofs, strict=True)
        ]
        wealth = booked[:, 0].mean(0).cumsum()
        every = max(len(wealth) // 500, 1)
        times = np.arange(len(wealth)) / self.bars_per_day
        return records, pl.DataFrame({"day": times[::every], "pnl": wealth[::every]})

    def _booked(self, steps: pl.DataFrame, moves: np.ndarray) -> np.ndarray:
        """PnL and edge of each step, in basis points; units held and traded."""
        held, unit = steps["inventory"].to_numpy(), self.price / 1e4
        pnl = steps["pnl_total"].to_numpy().astype(float) / unit
        traded = (steps["bought"] + steps["sold"]).to_numpy()
        return np.stack([pnl, pnl - held * moves / unit, abs(held), traded])

    def _errors(self, booked: np.ndarray, rows: slice, seed: int) -> np.ndarray:
        """Errors of the metrics' means over makers, by a bootstrap with the block length of some of the rows."""
        length = max(2, *map(block_length, booked[:, rows].mean(0)))
        resamples = block_resamples(booked.shape[-1], length, RESAMPLES, seed)
        return np.std([self._metrics(booked[..., bars]).mean(1) for bars in resamples], axis=0)

    def _metrics(self, booked: np.ndarray) -> np.ndarray:
        """METRICS of booked steps: (makers, 4, steps) to (metrics, makers)."""
        (pnl, edge, held, traded), day = np.moveaxis(booked, 1, 0), self.bars_per_day
        std, wealth = pnl.std(1), pnl.cumsum(1)
        return np.stack(
            [
                pnl.sum(1),
                edge.sum(1),
                pnl.mean(1) / np.where(std > 0, std, 1.0) * day**0.5,
                (np.maximum.accumulate(np.maximum(wealth, 0.0), axis=1) - wealth).max(1),
                held.mean(1),
                traded.mean(1) * day,
            ]
        )


LABELS = {
    "nothing": "doing nothing",
    "hold": "buy and hold",
    "selected": "the selected fixed offset",
    "avellaneda-stoikov": "Avellaneda and Stoikov",
    "gueant-lehalle-fernandez-tapia": "Guéant, Lehalle and Fernandez-Tapia",
}
"""Labels of the makers that do not learn, except fixed offsets."""


def references(budget: Budget, report: Report) -> Outcome:
    """Makers that do not learn. The best fixed offset is selected on the second part; all of them are shown."""
    history = History.read(budget)
    records = records_of({}, return_std=1e4 * history.std)
    for name, part in zip(PARTS, history.parts, strict=True):
        records += records_of({"part": name}, bars=len(part))
    fixed = {offset: FixedOffset(offset * history.std, offset * history.std) for offset in OFFSETS}
    report("selecting an offset")
    second = history.scenario(1)
    earned = {
        offset: find(evaluate(second, {"": maker}, steps=second.horizon), "", "reward").value
        for offset, maker in fixed.items()
    }
    selected = max(earned, key=earned.__getitem__)
    fills = fit_fills(history.parts[0])
    # Relative to the price, so that γσ²/2 is the penalty on a unit.
    risk_aversion = 2 * RISK_AVERSION / history.std
    makers: list[tuple[Parameters, Policy]] = [
        ({"policy": "nothing"}, DoNothing()),
        ({"policy": "hold"}, BuyAndHold(1.0)),
        ({"policy": "selected"}, fixed[selected]),
        *((fixed_offset(offset), maker) for offset, maker in fixed.items()),
        ({"policy": "avellaneda-stoikov"}, fills.avellaneda_stoikov(risk_aversion, 1.0)),
        (
            {"policy": "gueant-lehalle-fernandez-tapia"},
            fills.gueant_lehalle_fernandez_tapia(risk_aversion),
        ),
    ]
    frames = []
    for parameters, maker in makers:
        report(", ".join(map(str, parameters.values())))
        found, curve = history.test(parameters, (maker,), budget.seed)
        records += found
        frames.append(curve.with_columns(policy=pl.lit(parameters["policy"])))
    return Outcome(records, {"curves": pl.concat(frames)})


PARTS = ("training", "selection", "test")


def fixed_offset(offset: float) -> dict[str, Parameter]:
    """Parameters of a maker with a fixed offset, in standard deviations of a bar's return."""
    return {"policy": "fixed", "offset": offset}


def _offset_label(offset: float) -> str:
    return f"{offset:g} std"


def learned(model: Callable[[HestonBars], HestonBars] | None) -> Callable[[Budget, Report], Outcome]:
    """A learner trained on the first part, at its best checkpoint on the second, tested on the last."""

    def run(budget: Budget, report: Report) -> Outcome:
        history = History.read(budget)
        first = history.parts[0]
        expected = None
        if model:
            report("fitting the model")
            window = min(WINDOW, len(first) // 2)
            expected = model(fitted(first, window, BLOCK, budget.seed))
        config = learner(len(first) - 2, 1, expected)
        scenario, second = history.scenario(0), history.scenario(1)
        best: list[tuple[float, Policy]] = []
        rows = []

        def look(progress: Progress) -> None:
            for i, policy in enumerate(policies_of(scenario, config, progress.states, budget.seeds)):
                reward = find(evaluate(second, {"": policy}, steps=second.horizon), "", "reward").value
                bars_seen = 1 + config.learning_starts + progress.iteration
                rows.append({"seed": i, "bars": bars_seen, "reward": reward * 1e4 / history.price})
                if len(best) <= i:
                    best.append((reward, policy))
                elif reward > best[i][0]:
                    best[i] = reward, policy
            report(f"{100 * progress.iteration / progress.iterations:.0f}% trained")

        report("compiling")
        train(scenario, config, budget.seed, budget.seeds, CHECKPOINTS, None, look)
        policies = tuple(policy for _, policy in best)
        records, curve = history.test({"policy": "learner"}, policies, budget.seed)
        return Outcome(records, {"checkpoints": pl.DataFrame(rows), "curve": curve})

    return run


MODELS: Mapping[str, Callable[[HestonBars], HestonBars] | None] = {
    "none": None,
    "fitted": lambda model: model,
    "constant": constant,
    "doubled": doubled,
}
"""Planning models of the learners, made from rolling fits; None for the learner without planning."""


def table(found: Outcomes) -> list[Table | Figure]:
    def row(label: str, case: str, **maker: Parameter) -> Row:
        cells = (Cell(found.estimate(case, metric, **maker), digits=d) for metric, d in METRICS.items())
        return Row(label, tuple(cells))

    learners = {learned_case(model): MODEL_LABELS[model] for model in MODELS}
    rows = [row(label, case, policy="learner") for case, label in learners.items()]
    rows += [row(label, "bars-references", policy=policy) for policy, label in LABELS.items()]
    fixed = [row(_offset_label(offset), "bars-references", **fixed_offset(offset)) for offset in OFFSETS]
    counts = {part: found.record("bars-references", "bars", part=part).value for part in PARTS}
    note = (
        f"Of {counts['test']:,.0f} bars, after {counts['training']:,.0f} for training and {counts['selection']:,.0f} "
        "for selection. PnL, edge and drawdown in basis points of the price, of one unit a side; edge is the PnL of "
        "trades up to the close of their bar, the rest that of inventory held from before. Sharpe ratio of a "
        f"day; mean size of the position in units; units traded per day. Learners: mean of {found.budget.seeds} seeds. "
        "Errors by block bootstrap of the bars; those of learners include the variation of seeds."
    )
    columns = ("PnL", "edge", "Sharpe", "drawdown", "position", "turnover")
    references = found.frame("bars-references", "curves")
    curves = pl.concat(
        [
            *(
                found.frame(case, "curve").with_columns(series=pl.lit(label))
                for case, label in learners.items()
            ),
            labelled(
                references.filter(pl.col("policy").is_in(["selected", "hold"])), LABELS.__getitem__, "policy"
            ).drop("policy"),
        ]
    )
    checkpoints = pl.concat(
        [
            found.frame(case, "checkpoints").with_columns(series=pl.lit(label))
            for case, label in learners.items()
        ]
    )
    means = checkpoints.group_by("series", "bars", maintain_order=True).agg(
        pl.col("reward").mean(), reward_error=pl.col("reward").std() / pl.len().sqrt()
    )
    return [
        Table(columns, tuple(rows), note),
        Table(
            columns,
            tuple(fixed),
            "Offsets in standard deviations of a bar’s return; the best of them is known only in hindsight.",
            "Every fixed offset",
        ),
        Figure(
            "PnL on the test bars",
            "Basis points of the price.",
            figure_lines(curves, "day", {"pnl": "PnL, basis points"}, "series", x_title="days"),
        ),
        Figure(
            "Learning by real bars",
            "Reward on the bars of the selection; mean of seeds with its 95% band.",
            figure_lines(
                means,
                "bars",
                {"reward": "reward per bar, basis points"},
                "series",
                x_title="real bars of training",
            ),
        ),
    ]


def learned_case(model: str) -> str:
    return select_one(CASES, model=model)


def earns(model: str) -> Callable[[Outcomes], Finding]:
    """Whether a learner earns more than doing nothing."""

    def test(found: Outcomes) -> Finding:
        pnl = found.estimate(learned_case(model), "pnl", policy="learner")
        return greater(
            pnl, Estimate(0.0), names=(f"{MODEL_LABELS[model]}, basis points,", "doing nothing"), digits=1
        )

    return test


def edge_is_negative(found: Outcomes) -> Finding:
    """Whether the edge of each offset is below 0."""
    edge = {offset: found.estimate("bars-references", "edge", **fixed_offset(offset)) for offset in OFFSETS}
    return all_of(
        greater(
            Estimate(0.0), x, names=("nothing", f"edge at {_offset_label(offset)}, basis points,"), digits=1
        )
        for offset, x in edge.items()
    )


CASES = (
    Case("bars-references", references, needs_bars=True),
    *(
        Case(dash_case("bars", "sac" if model is None else name), learned(model), {"model": name}, True)
        for name, model in MODELS.items()
    ),
)

ITEMS = (
    Item(
        "bars",
        "Planning on real bars",
        "Trained, selected and tested on successive parts; an order fills if the price goes through it.",
        ("bars-references", *map(learned_case, MODELS)),
        table,
        (
            Claim(
                "this project",
                "SAC earns more than doing nothing on the test bars.",
                earns("none"),
            ),
            Claim("this project", "With planning it does.", earns("fitted")),
            Claim(
                "this project",
                "At every fixed offset a fill has lost by the close of its bar.",
                edge_is_negative,
            ),
        ),
    ),
)
