"""Figures 4 to 7 and 12 to 14 of Ganesh et al. (2019): effects of drift, penalties, the book and the flow."""

from collections.abc import Callable

import polars as pl

from twosided.dealer.plots import figure_book, figure_skew
from twosided.papers.base import (
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcomes,
    Row,
    Table,
    all_of,
    greater,
    mean,
    select,
    select_one,
    within,
)
from twosided.papers.ganesh2019.cases import (
    CASES,
    DRIFTS,
    EXACT_PENALTIES,
    FORESIGHT,
    LEARNER,
    PENALTIES,
    penalty_case,
)
from twosided.papers.ganesh2019.estimates import SCALE, UNIT, ZERO, exact, excess, learner, own
from twosided.plots import figure_distributions, figure_lines, figure_markouts

PENALTY_NAMES = {
    "none": "no penalty",
    "stdev": "InvPnL Stdev",
    "square": "InvPnL²",
    "asymmetric": "Asymmetric",
}


def figure_4(found: Outcomes) -> list[Table | Figure]:
    frames = [
        found.frame(_drift_case(drift), "inventory").with_columns(drift=pl.lit(f"μ = {drift:g}"))
        for drift in DRIFTS
    ]
    figure = figure_lines(
        pl.concat(frames), "time", {"inventory": "inventory, units"}, "drift", x_title="step of the episode"
    )
    rows = tuple(
        Row(f"μ = {drift:g}", (Cell(_held(found, drift), _PRINTED_4.get(drift)),)) for drift in DRIFTS
    )
    return [
        Figure("Inventory of the learner", "First seed, mean over episodes.", figure),
        Table(("inventory, mean",), rows, "Units; the paper’s text gives three of them."),
    ]


def _drift_case(drift: float) -> str:
    return select_one(CASES, experiment="drift", drift=drift)


_PRINTED_4 = {-1.0: -16.06, 0.01: 10.82, -0.01: 0.97}


def _held(found: Outcomes, drift: float) -> Estimate:
    return learner(found, _drift_case(drift), "inventory_mean")


def follows_drift(found: Outcomes) -> Finding:
    return all_of(
        greater(_held(found, high), _held(found, low), names=(f"inventory at μ = {high:g}", f"at {low:g}"))
        for low, high in ((-1.0, 0.0), (0.0, 1.0))
    )


def extreme_drift(found: Outcomes) -> Finding:
    return all_of(
        [
            greater(_held(found, 1.0), ZERO, names=("inventory at μ = 1", "nothing")),
            greater(ZERO, _held(found, -1.0), names=("nothing", "inventory at μ = −1")),
        ]
    )


def small_drift(found: Outcomes) -> Finding:
    return greater(_held(found, 0.01), _held(found, -0.01), names=("inventory at μ = 0.01", "at −0.01"))


def figure_5(found: Outcomes) -> list[Table | Figure]:
    frames, rows = [], []
    for name, label in PENALTY_NAMES.items():
        case = penalty_case(name)
        steps = found.frame(case, "trace").filter(pl.col("maker") == 0)
        frames.append(steps.select("inventory", "pnl_inventory", pl.lit(label).alias("penalty")))
        known = name in EXACT_PENALTIES
        best = gap = None
        if known:
            best = exact(found, case, "reward", SCALE)
            gap = Estimate(best).minus(learner(found, case, "reward").times(SCALE)).times(100 / best)
        rows.append(
            Row(
                label,
                (
                    Cell(
                        learner(found, case, "inventory_std"),
                        exact=exact(found, case, "inventory_std") if known else None,
                    ),
                    Cell(learner(found, case, "inventory_pnl_std")),
                    Cell(learner(found, case, "inventory_mean")),
                    Cell(learner(found, case, "reward").times(SCALE), exact=best),
                    Cell(gap, digits=1),
                    Cell(own(found, case)),
                ),
            )
        )
    panels = {"inventory": "inventory before the step, units", "pnl_inventory": "inventory PnL of a step"}
    columns = (
        "inventory std",
        "inventory PnL std",
        "inventory mean",
        "reward × 100",
        "gap, %",
        "total PnL × 100",
    )
    note = (
        "Exact: dynamic programming over inventory, the supremum of the mean reward over episodes of 200 steps; its "
        "error is in the documentation. The gap is that of the training reward."
    )
    content: list[Table | Figure] = [
        Table(columns, tuple(rows), note),
        Figure(
            "Inventory and inventory PnL",
            "The first seed of each.",
            figure_distributions(pl.concat(frames), panels, "penalty"),
        ),
    ]
    for name in EXACT_PENALTIES:
        case = penalty_case(name)
        sentence = (
            "Dashed: the exact optimum’s mean ε; a quote that deliberately loses the order counts as 1."
        )
        figure = figure_skew(found.frame(case, "trace"), exact=found.frame(case, "exact"))
        content.append(Figure(f"Skew with {PENALTY_NAMES[name]}", sentence, figure))
    return content


def lowers(metric: str, label: str) -> Callable[[Outcomes], Finding]:
    def test(found: Outcomes) -> Finding:
        without = learner(found, penalty_case("none"), metric)
        return all_of(
            greater(
                without,
                learner(found, penalty_case(name), metric),
                names=(f"{label} without", f"with {PENALTY_NAMES[name]}"),
            )
            for name in PENALTIES
            if name != "none"
        )

    return test


def lowers_the_mean(found: Outcomes) -> Finding:
    def held(name: str) -> Estimate:
        estimate = learner(found, penalty_case(name), "inventory_mean")
        return Estimate(abs(estimate.value), estimate.error, estimate.dof)

    return all_of(
        greater(held("none"), held(name), names=("|mean inventory| without", f"with {PENALTY_NAMES[name]}"))
        for name in PENALTIES
        if name != "none"
    )


def near_the_optimum(found: Outcomes) -> Finding:
    """PPO within 5% of the dynamic program's value of the reward."""
    findings = []
    for name in EXACT_PENALTIES:
        case = penalty_case(name)
        best = exact(found, case, "reward")
        gap = Estimate(best).minus(learner(found, case, "reward")).times(100 / best)
        findings.append(
            within(gap, 0.0, 5.0, name=f"the gap with {PENALTY_NAMES[name]}, in percent,", digits=1)
        )
    return all_of(findings)


def figure_6(found: Outcomes) -> list[Table | Figure]:
    levels = found.frame("book", "levels")
    figure = figure_book(levels["level"].to_numpy(), levels["volume"].to_numpy())
    return [Figure("A snapshot of the book", "Both sides are equal; a level is a basis point.", figure)]


def figure_7(found: Outcomes) -> list[Table | Figure]:
    curves = found.frame("book", "curves")
    figure = figure_lines(
        curves, "size", {"spread": "S_ref(v), basis points"}, "snapshot", x_title="size v, units of trade"
    )
    spread = Cell(Estimate(found.record("book", "spread", size=1.0).value), 4.7)
    note = "Basis points, mean over books; the paper’s follows from its PnL at ε = 0."
    return [
        Figure("Spread curves", "S_ref of 24 snapshots of the default book.", figure),
        Table(("E[S_ref(1)]",), (Row("a unit trade", (spread,)),), note),
    ]


def figure_12(found: Outcomes) -> list[Table | Figure]:
    steps = found.frame("toxic", "trace").with_columns(
        hedged=(pl.col("hedge_fraction") * pl.col("inventory")).abs(),
        series=pl.when(pl.col("maker") == 0).then(pl.lit("learner")).otherwise(pl.lit("adaptive maker")),
        total=pl.sum_horizontal(f"pnl_{part}" for part in ("spread", "hedge", "inventory", "fees")),
    )
    lines = (
        steps.sort("path", "series", "time")
        .with_columns(gained=pl.col("total").cum_sum().over("path", "series"))
        .group_by("time", "series", maintain_order=True)
        .agg(pl.col("hedged").mean(), pl.col("gained").mean())
        .sort("series", "time")
    )
    panels = {"hedged": "volume hedged in a step, units", "gained": "cumulative total PnL"}
    figure = figure_lines(lines, "time", panels, "series", x_title="step of the episode")
    rows = []
    for maker, label in ((0, "learner"), (1, "adaptive maker")):
        parts = ("spread", "adverse", "residual", "hedge", "total")
        cells = (Cell(_toxic(found, f"pnl_{part}", maker)) for part in parts)
        rows.append(Row(label, tuple(cells)))
    columns = ("spread", f"adverse selection, {FORESIGHT} steps", "residual inventory", "hedge", "total")
    return [
        Figure("Hedging and PnL", "Mean over episodes.", figure),
        Table(columns, tuple(rows), f"{UNIT} The parts add up to the total."),
        Figure(
            "Markouts",
            "PnL per unit traded with clients, by the number of steps after the trade.",
            figure_markouts(found.frame("toxic", "markouts"), scale=SCALE, unit="bp per unit"),
        ),
    ]


def _toxic(found: Outcomes, metric: str, maker: int) -> Estimate:
    """A part of PnL, with adverse selection as a separate part, in the first seed's episodes."""
    split = {**LEARNER, "replication": 0, "adverse_selection_steps": FORESIGHT}
    return found.estimate("toxic", metric, **split, maker=maker).times(SCALE)


def hedges_more(found: Outcomes) -> Finding:
    steps = found.frame("toxic", "trace").with_columns(
        hedged=(pl.col("hedge_fraction") * pl.col("inventory")).abs()
    )
    means = steps.group_by("path", "maker", maintain_order=True).agg(pl.col("hedged").mean()).sort("path")
    learner_hedges, adaptive_hedges = (means.filter(pl.col("maker") == maker)["hedged"] for maker in (0, 1))
    difference = mean((learner_hedges - adaptive_hedges).to_list())
    return greater(difference, ZERO, names=("volume hedged per step, less the adaptive maker’s,", "nothing"))


def earns_more(found: Outcomes) -> Finding:
    return greater(excess(found, "toxic"), ZERO, names=("excess over the adaptive maker", "nothing"))


def skewing(risk_aversion: float) -> Callable[[Outcomes], list[Table | Figure]]:
    def content(found: Outcomes) -> list[Table | Figure]:
        own = (pl.col("risk_aversion") == risk_aversion) & (pl.col("maker") == 0)
        steps = found.frame("skewing", "traces").filter(own)
        columns = (("bid", "epsilon_buy", "quoted"), ("ask", "epsilon_sell", "quoted"), ("inventory",) * 3)
        lines = pl.concat(
            (
                steps.select("time", pl.col(column).alias(panel), series=pl.lit(series))
                for series, column, panel in columns
            ),
            how="diagonal",
        )
        panels = {"quoted": "ε", "inventory": "inventory before the step, units"}
        figure = figure_lines(lines, "time", panels, "series", x_title="step of the episode")
        sentence = "One episode of the adaptive maker (share 0.25) against ε = −0.5 to buy, 0 to sell."
        return [Figure(f"Risk aversion {risk_aversion:g}", sentence, figure)]

    return content


def lower_quote(risk_aversion: float, buy: float, sell: float) -> Callable[[Outcomes], Finding]:
    """The most common lower quote on each side."""

    def test(found: Outcomes) -> Finding:
        findings = []
        for side, printed in (("buy", buy), ("sell", sell)):
            parameters = {"risk_aversion": risk_aversion, "side": side}
            value = Estimate(found.record("skewing", "lower_mode", **parameters).value)
            share = found.record("skewing", "lower_mode_share", **parameters).value
            name = f"most common lower ε ({side}), {100 * share:.0f}% of them,"
            findings.append(within(value, printed, 0.01, name=name))
        return all_of(findings)

    return test


ITEMS = (
    Item(
        "figure-4",
        "Drift and inventory",
        "Three makers: the learner, an adaptive one (share 0.5, γ = 1) and PersistentQuoter(0).",
        select(CASES, experiment="drift"),
        figure_4,
        (
            Claim("section 6.2", "Inventory is an increasing function of drift.", follows_drift),
            Claim("section 6.2", "At extreme drifts it is clearly positive or negative.", extreme_drift),
            Claim("section 6.2", "It is higher at μ = 0.01 than at μ = −0.01.", small_drift),
        ),
    ),
    Item(
        "figure-5",
        "Risk penalties",
        "Against the competitor that quotes ε = −0.5 to buy and 0 to sell.",
        select(CASES, experiment="penalty"),
        figure_5,
        (
            Claim(
                "section 6.3",
                "Every penalty decreases the standard deviation of inventory.",
                lowers("inventory_std", "standard deviation of inventory"),
            ),
            Claim(
                "section 6.3",
                "Every penalty decreases the standard deviation of inventory PnL.",
                lowers("inventory_pnl_std", "standard deviation of inventory PnL"),
            ),
            Claim("section 6.3", "Every penalty decreases the absolute mean inventory.", lowers_the_mean),
            Claim("this project", "PPO is within 5% of the exact optimum.", near_the_optimum),
        ),
    ),
    Item("figure-6", "The exchange’s book", "", ("book",), figure_6),
    Item("figure-7", "The model of S_ref", "", ("book",), figure_7),
    Item(
        "figure-12",
        "Toxic investors",
        f"All investors know the midprice {FORESIGHT} steps ahead, hedging is free, and S_ref is four times "
        "as high. The adaptive maker (share 0.5, γ = 2) does not.",
        ("toxic",),
        figure_12,
        (
            Claim(
                "section 7.4", "The learner hedges significantly more than the adaptive maker.", hedges_more
            ),
            Claim("section 7.4", "The learner outperforms it.", earns_more),
        ),
    ),
    Item(
        "figure-13",
        "The adaptive maker’s skew at γ = 0",
        "",
        ("skewing",),
        skewing(0.0),
        (
            Claim(
                "section 7.5",
                "Its lower quote is most often −0.6 to buy and −0.2 to sell.",
                lower_quote(0.0, -0.6, -0.2),
            ),
        ),
    ),
    Item(
        "figure-14",
        "The adaptive maker’s skew at γ = 2",
        "",
        ("skewing",),
        skewing(2.0),
        (
            Claim(
                "section 7.5",
                "Its lower quote is most often −0.8 on either side (the paper’s always).",
                lower_quote(2.0, -0.8, -0.8),
            ),
        ),
    ),
)
