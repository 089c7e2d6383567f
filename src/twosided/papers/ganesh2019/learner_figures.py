"""Figures 1 to 3 and 8 to 11 of Ganesh et al. (2019): how learners converge, and what they quote."""

import polars as pl

from twosided.core.records import MEAN
from twosided.papers.base import Claim, Figure, Finding, Item, Outcomes, Table, all_of, greater, mean, within
from twosided.papers.ganesh2019.cases import adaptive_case, fixed_case
from twosided.papers.ganesh2019.readings import NAMES, NOTHING, exact, excess
from twosided.plots import figure_episode, figure_epsilon, figure_learning, figure_lines, figure_skew

CURVES = {
    "figure-8": "random-1",
    "figure-9": "random-0.5",
    "figure-10": "persistent-0",
    "figure-11": "persistent-0.5",
}
"""The figures that show the training against each fixed competitor."""


def learning(name: str):
    def content(found: Outcomes) -> list[Table | Figure]:
        case = fixed_case(name, "own")
        best = exact(found, case, "supremum")
        figure = figure_learning(found.frame(case, "curve"), best)
        return [Figure(f"Against {NAMES[name]}", "A line a seed, from scratch.", figure)]

    return content


def converged(name: str):
    """In the last quarter of the training the score moves by less than 5% of the best there is."""

    def test(found: Outcomes) -> Finding:
        case = fixed_case(name, "own")
        curve = found.frame(case, "curve").sort("seed", "steps")
        best = exact(found, case, "supremum")
        moved = []
        for _, seed in curve.group_by("seed", maintain_order=True):
            scores = seed["score"].to_numpy()
            moved.append(float(100 * (scores[-1] - scores[-1 - len(scores) // 4]) / best))
        return within(
            mean(moved), 0.0, 5.0, name="change over the last quarter, in percent of the best,", digits=1
        )

    return test


def figure_1(found: Outcomes) -> list[Table | Figure]:
    case, rival = fixed_case("random-1", "own"), adaptive_case(0.5, 2)
    best = [exact(found, case, f"epsilon_{side}") for side in ("buy", "sell")]
    response = [found.record(rival, "best response", f"epsilon_{side}").value for side in ("buy", "sell")]
    return [
        Figure(
            "Against Unif[−1, 1]",
            "How often each ε is quoted, and Theorem 1’s best.",
            figure_epsilon(found.frame(case, "trace"), *best),
        ),
        Figure(
            "Against the adaptive maker (share 0.5, γ = 2)",
            "The best response is to how the adaptive maker quoted in these very episodes.",
            figure_epsilon(found.frame(rival, "trace"), *response),
        ),
    ]


def peaks_at_the_best(found: Outcomes) -> Finding:
    case = fixed_case("random-1", "own")
    return all_of(
        within(
            found.estimate(case, MEAN, f"epsilon_{side}_mean"),
            exact(found, case, f"epsilon_{side}"),
            0.1,
            name=f"mean ε ({side}) against Unif[−1, 1]",
        )
        for side in ("buy", "sell")
    )


def figure_2(found: Outcomes) -> list[Table | Figure]:
    figures = []
    for aversion in (2, 0):
        curve = found.frame(adaptive_case(0.5, aversion), "curve")
        both = pl.concat(
            curve.group_by("steps")
            .agg(pl.col(column).mean() * 100)
            .sort("steps")
            .select("steps", pl.col(column).alias("score"), pl.lit(who).alias("who"))
            for column, who in (("score", "learner"), ("rivals", "adaptive maker"))
        )
        figure = figure_lines(
            both, "steps", {"score": "total PnL a step × 100"}, "who", x_title="market steps of training"
        )
        title = f"Adaptive maker with γ = {aversion}, share 0.5"
        figures.append(Figure(title, "Both makers while the learner trains; mean of its seeds.", figure))
    return figures


def loses_only_if_averse(found: Outcomes) -> Finding:
    averse, neutral = excess(found, adaptive_case(0.5, 2)), excess(found, adaptive_case(0.5, 0))
    return all_of(
        [
            greater(averse, NOTHING, names=("excess at γ = 2", "nothing")),
            greater(averse, neutral, names=("excess at γ = 2", "excess at γ = 0")),
        ]
    )


def figure_3(found: Outcomes) -> list[Table | Figure]:
    cases = {
        "Against PersistentQuoter(0)": fixed_case("persistent-0", "own"),
        "Against the adaptive maker (share 0.5, γ = 2)": adaptive_case(0.5, 2),
    }
    sentence = "Mean ε on each side by the inventory before the step; the first seed."
    figures: list[Table | Figure] = [
        Figure(title, sentence, figure_skew(found.frame(case, "trace"))) for title, case in cases.items()
    ]
    sentence = "One episode against the adaptive maker."
    figures.append(
        Figure("An episode", sentence, figure_episode(found.frame(adaptive_case(0.5, 2), "trace")))
    )
    return figures


def skews(found: Outcomes) -> Finding:
    """The learner's ε is lower on the side that sheds its inventory, by path."""
    steps = found.frame(adaptive_case(0.5, 2), "trace").filter(pl.col("maker") == 0)
    findings = []
    for side, sign in (("buy", -1), ("sell", 1)):
        shed = (
            steps.group_by("path")
            .agg(
                lower=pl.col(f"epsilon_{side}").filter(pl.col("inventory") * sign > 0).mean(),
                other=pl.col(f"epsilon_{side}").filter(pl.col("inventory") * sign < 0).mean(),
            )
            .drop_nulls()
        )
        difference = mean((shed["other"] - shed["lower"]).to_list())
        findings.append(
            greater(difference, NOTHING, names=(f"ε ({side}) lower by, where it sheds,", "nothing"), digits=3)
        )
    return all_of(findings)


ITEMS = (
    Item(
        "figure-1",
        "Distribution of the learner’s ε",
        "The policy at its mode, first seed.",
        (fixed_case("random-1", "own"), adaptive_case(0.5, 2)),
        figure_1,
        (
            Claim(
                "section 6.1",
                "The learner’s ε peaks at Theorem 1’s point against Unif[−1, 1].",
                peaks_at_the_best,
            ),
        ),
    ),
    Item(
        "figure-2",
        "Convergence against adaptive makers",
        "",
        (adaptive_case(0.5, 2), adaptive_case(0.5, 0)),
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
        "A learner that is not averse to risk has no reason of its own to skew against a fixed competitor.",
        (fixed_case("persistent-0", "own"), adaptive_case(0.5, 2)),
        figure_3,
        (Claim("section 6.1", "It lowers ε on the side that sheds its inventory (adaptive).", skews),),
    ),
    *(
        Item(
            name,
            f"Training against {NAMES[rival]}",
            "",
            (fixed_case(rival, "own"),),
            learning(rival),
            (Claim("section 7.3", "The reward converges.", converged(rival)),),
        )
        for name, rival in CURVES.items()
    ),
)
