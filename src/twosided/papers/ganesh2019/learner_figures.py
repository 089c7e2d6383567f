"""Figures 1 to 3 and 8 to 11 of Ganesh et al. (2019): convergence of learners, and their quotes."""

from collections.abc import Callable

import polars as pl

from twosided.dealer.plots import figure_epsilon, figure_skew
from twosided.papers.base import Claim, Figure, Finding, Item, Outcomes, Table, all_of, greater, mean, within
from twosided.papers.ganesh2019.cases import adaptive_case, fixed_case
from twosided.papers.ganesh2019.estimates import NAMES, SCALE, ZERO, exact, excess, learner
from twosided.plots import figure_episode, figure_learning, figure_lines

CURVES = {
    "figure-8": "random-1",
    "figure-9": "random-0.5",
    "figure-10": "persistent-0",
    "figure-11": "persistent-0.5",
}
"""The figures that show the training against each fixed competitor."""


def learning(competitor: str) -> Callable[[Outcomes], list[Table | Figure]]:
    def content(found: Outcomes) -> list[Table | Figure]:
        case = fixed_case(competitor)
        best = exact(found, case, "supremum")
        figure = figure_learning(found.frame(case, "curve"), best, scale=SCALE, unit="bp per step")
        return [Figure(f"Against {NAMES[competitor]}", "One line per seed, from scratch.", figure)]

    return content


def converged(competitor: str) -> Callable[[Outcomes], Finding]:
    """In the last quarter of the training the score changes by less than 5% of the supremum."""

    def test(found: Outcomes) -> Finding:
        case = fixed_case(competitor)
        curve = found.frame(case, "curve").sort("seed", "timesteps")
        best = exact(found, case, "supremum")
        moved = []
        for _, seed in curve.group_by("seed", maintain_order=True):
            pnl = seed["eval_pnl"].to_numpy()
            moved.append(float(100 * (pnl[-1] - pnl[-1 - len(pnl) // 4]) / best))
        return within(
            mean(moved), 0.0, 5.0, name="change over the last quarter, in percent of the supremum,", digits=1
        )

    return test


def figure_1(found: Outcomes) -> list[Table | Figure]:
    case, adaptive = fixed_case("random-1"), adaptive_case(0.5, 2.0)
    best = [exact(found, case, f"epsilon_{side}") for side in ("buy", "sell")]
    response = [
        found.record(adaptive, f"epsilon_{side}", policy="best response").value for side in ("buy", "sell")
    ]
    return [
        Figure(
            "Against Unif[−1, 1]",
            "Distribution of the quoted ε, and Theorem 1’s optimum.",
            figure_epsilon(found.frame(case, "trace"), *best),
        ),
        Figure(
            "Against the adaptive maker (share 0.5, γ = 2)",
            "The best response is to the adaptive maker’s quotes in these episodes.",
            figure_epsilon(found.frame(adaptive, "trace"), *response),
        ),
    ]


def peaks_at_the_best(found: Outcomes) -> Finding:
    case = fixed_case("random-1")
    return all_of(
        within(
            learner(found, case, f"epsilon_{side}_mean"),
            exact(found, case, f"epsilon_{side}"),
            0.1,
            name=f"mean ε ({side}) against Unif[−1, 1]",
        )
        for side in ("buy", "sell")
    )


def figure_2(found: Outcomes) -> list[Table | Figure]:
    figures = []
    for risk_aversion in (2.0, 0.0):
        curve = found.frame(adaptive_case(0.5, risk_aversion), "curve")
        both = pl.concat(
            curve.group_by("timesteps", maintain_order=True)
            .agg(pl.col(column).mean() * 100)
            .sort("timesteps")
            .select("timesteps", pl.col(column).alias("pnl"), pl.lit(label).alias("series"))
            for column, label in (("eval_pnl", "learner"), ("competitor_pnl", "adaptive maker"))
        )
        figure = figure_lines(
            both,
            "timesteps",
            {"pnl": "total PnL per step × 100"},
            "series",
            x_title="market steps of training",
        )
        title = f"Adaptive maker with γ = {risk_aversion:g}, share 0.5"
        figures.append(Figure(title, "Both makers during the training; mean of seeds.", figure))
    return figures


def loses_only_if_averse(found: Outcomes) -> Finding:
    averse, neutral = excess(found, adaptive_case(0.5, 2.0)), excess(found, adaptive_case(0.5, 0.0))
    return all_of(
        [
            greater(averse, ZERO, names=("excess at γ = 2", "nothing")),
            greater(averse, neutral, names=("excess at γ = 2", "excess at γ = 0")),
        ]
    )


def figure_3(found: Outcomes) -> list[Table | Figure]:
    cases = {
        "Against PersistentQuoter(0)": fixed_case("persistent-0"),
        "Against the adaptive maker (share 0.5, γ = 2)": adaptive_case(0.5, 2.0),
    }
    sentence = "Mean ε on each side by the inventory before the step; the first seed."
    figures: list[Table | Figure] = [
        Figure(title, sentence, figure_skew(found.frame(case, "trace"))) for title, case in cases.items()
    ]
    sentence = "One episode against the adaptive maker."
    figures.append(
        Figure("An episode", sentence, figure_episode(found.frame(adaptive_case(0.5, 2.0), "trace")))
    )
    return figures


def skews(found: Outcomes) -> Finding:
    """The learner's ε is lower on the side that reduces its inventory, by path."""
    steps = found.frame(adaptive_case(0.5, 2.0), "trace").filter(pl.col("maker") == 0)
    findings = []
    for side, sign in (("buy", -1), ("sell", 1)):
        shed = (
            steps.group_by("path", maintain_order=True)
            .agg(
                lower=pl.col(f"epsilon_{side}").filter(pl.col("inventory") * sign > 0).mean(),
                other=pl.col(f"epsilon_{side}").filter(pl.col("inventory") * sign < 0).mean(),
            )
            .drop_nulls()
        )
        difference = mean((shed["other"] - shed["lower"]).to_list())
        findings.append(
            greater(
                difference, ZERO, names=(f"reduction of ε ({side}) that sheds inventory", "nothing"), digits=3
            )
        )
    return all_of(findings)


ITEMS = (
    Item(
        "figure-1",
        "Distribution of the learner’s ε",
        "The policy at its mode, first seed.",
        (fixed_case("random-1"), adaptive_case(0.5, 2.0)),
        figure_1,
        (
            Claim(
                "section 6.1",
                "The learner’s ε peaks at Theorem 1’s optimum against Unif[−1, 1].",
                peaks_at_the_best,
            ),
        ),
    ),
    Item(
        "figure-2",
        "Convergence against adaptive makers",
        "",
        (adaptive_case(0.5, 2.0), adaptive_case(0.5, 0.0)),
        figure_2,
        (
            Claim(
                "section 6.1",
                "The adaptive maker keeps up at γ = 0 and loses at γ = 2.",
                loses_only_if_averse,
            ),
        ),
    ),
    Item(
        "figure-3",
        "Price skewing",
        "A risk-neutral learner has no reason to skew against a fixed competitor.",
        (fixed_case("persistent-0"), adaptive_case(0.5, 2.0)),
        figure_3,
        (Claim("section 6.1", "It lowers ε on the side that reduces its inventory (adaptive).", skews),),
    ),
    *(
        Item(
            name,
            f"Training against {NAMES[competitor]}",
            "",
            (fixed_case(competitor),),
            learning(competitor),
            (Claim("section 7.3", "The reward converges.", converged(competitor)),),
        )
        for name, competitor in CURVES.items()
    ),
)
