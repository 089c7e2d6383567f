"""Tables 1 to 3 of Ganesh et al. (2019): PnL and quotes of learners; printed, ours and exact."""

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
    select,
    select_one,
    within,
)
from twosided.papers.ganesh2019 import PUBLISHED
from twosided.papers.ganesh2019.cases import ADAPTIVE, CASES, EXPLORING, LEARNER, adaptive_case, fixed_case
from twosided.papers.ganesh2019.estimates import (
    NAMES,
    PARTS,
    SCALE,
    UNIT,
    ZERO,
    exact,
    excess,
    learner,
    own,
)

TABLE_2 = {
    (0.25, 0.0): (81.83, 0.14, -0.73, 81.24),
    (0.50, 0.0): (-7.92, 3.52, -0.00, -4.40),
    (0.25, 1.0): (94.16, 0.30, -0.37, 94.09),
    (0.50, 1.0): (4.88, 0.01, 0.74, 5.64),
    (0.25, 2.0): (93.18, -0.49, -0.22, 92.47),
    (0.50, 2.0): (23.87, 0.54, 2.02, 26.42),
}
"""By share target and risk aversion: the RL agent's excess by part."""
REWARD_LABELS = {
    "own": "Trained on own PnL",
    "relative": "Trained on PnL less the competitor’s, with a discount of 0",
    "ahead": "Trained on PnL less the competitor’s, with a discount of 0.7",
}
MAX_GAP = 3.0
"""Largest accepted optimality gap of our own makers, in percent."""


def printed(name: str, part: str) -> float:
    """Table 1."""
    return SCALE * PUBLISHED[name][f"excess_{part}_over_1"]


def table_1(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for reward, title in REWARD_LABELS.items():
        rows = []
        for name, label in NAMES.items():
            case = fixed_case(name, reward)
            cells = []
            for part in PARTS:
                # For excess the supremum is that of spread PnL.
                best = (
                    exact(found, case, "supremum", SCALE)
                    if (part, reward) == ("spread", "relative")
                    else None
                )
                cells.append(Cell(excess(found, case, part), printed(name, part), best))
            total = Cell(own(found, case), exact=SCALE * _supremum(found, name))
            gap = Cell(learner(found, case, "optimality_gap"), digits=1)
            rows.append(Row(label, (*cells, total, gap)))
        note = f"Excess {UNIT} The last two: own total PnL, and its shortfall from the supremum, in percent."
        columns = ("spread", "inventory", "hedge", "total", "own total", "gap, %")
        tables.append(Table(columns, tuple(rows), note, title))
    rows = []
    for name, label in NAMES.items():
        case = fixed_case(name)
        parts = tuple(Cell(excess(found, case, part, **EXPLORING), printed(name, part)) for part in PARTS)
        rows.append(Row(label, parts))
    note = f"The first seed, evaluated with exploration. Excess {UNIT}"
    tables.append(Table(PARTS, tuple(rows), note, "With exploration"))
    case = select_one(CASES, experiment="paper settings")
    cells = (
        *(Cell(excess(found, case, part), printed("random-1", part)) for part in PARTS),
        Cell(learner(found, case, "optimality_gap"), digits=1),
    )
    note = "2 million steps with 2 × 256 tanh, clip 0.3, minibatches of 256, a learning rate of 5e-5 and one epoch."
    tables.append(
        Table((*PARTS, "gap, %"), (Row(NAMES["random-1"], cells),), note, "With the paper’s settings")
    )
    return tables


def _supremum(found: Outcomes, name: str) -> float:
    """Supremum of own total PnL."""
    return exact(found, fixed_case(name), "supremum")


def outperforms_fixed(found: Outcomes) -> Finding:
    return all_of(
        greater(excess(found, fixed_case(name)), ZERO, names=(f"excess over {label}", "nothing"))
        for name, label in NAMES.items()
    )


def gaps(found: Outcomes) -> Finding:
    """Gap of own PnL of makers trained on it, against all four competitors."""
    findings = []
    for name, label in NAMES.items():
        gap = learner(found, fixed_case(name), "optimality_gap")
        findings.append(within(gap, 0.0, MAX_GAP, name=f"the gap against {label}, in percent,"))
    return all_of(findings)


def excess_gaps(found: Outcomes) -> Finding:
    """Gap of excess spread PnL to Theorem 1's supremum, in percent, of makers trained on excess at a discount of 0."""
    findings = []
    for name, label in NAMES.items():
        case = fixed_case(name, "relative")
        best = exact(found, case, "supremum", SCALE)
        gap = Estimate(best).minus(excess(found, case, "spread")).times(100 / best)
        findings.append(within(gap, 0.0, MAX_GAP, name=f"the gap against {label}, in percent,"))
    return all_of(findings)


def above_the_paper(found: Outcomes) -> Finding:
    return all_of(
        greater(
            excess(found, fixed_case(name, "ahead")),
            Estimate(printed(name, "total")),
            names=(f"excess over {label}", "the paper’s"),
        )
        for name, label in NAMES.items()
    )


def table_2(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for reward, title in REWARD_LABELS.items():
        rows = []
        for share, risk_aversion in ADAPTIVE:
            case, printed_row = adaptive_case(share, risk_aversion, reward), TABLE_2[share, risk_aversion]
            cells = tuple(
                Cell(excess(found, case, part), value) for part, value in zip(PARTS, printed_row, strict=True)
            )
            bound = SCALE * found.record(case, "pnl_total", policy="alone").value
            total = Cell(own(found, case), exact=bound)
            rows.append(Row(_label(share, risk_aversion), (*cells, total)))
        tables.append(Table((*PARTS, "own total"), tuple(rows), _BOUND, title))
    rows = []
    for share, risk_aversion in ADAPTIVE:
        case, cells = adaptive_case(share, risk_aversion), []
        for side in ("buy", "sell"):
            response = found.record(case, f"epsilon_{side}", policy="best response").value
            cells.append(Cell(learner(found, case, f"epsilon_{side}_mean"), exact=response))
            cells.append(
                Cell(found.estimate(case, f"epsilon_{side}_mean", maker=1, **LEARNER, replication=0))
            )
        rows.append(Row(_label(share, risk_aversion), tuple(cells)))
    columns = ("ε bid", "adaptive’s ε bid", "ε ask", "adaptive’s ε ask")
    note = "Exact: Theorem 1’s best response to the adaptive maker’s quotes against the first seed."
    title = "Quotes of both makers if the learner’s reward is its own PnL"
    return [*tables, Table(columns, tuple(rows), note, title)]


_BOUND = (
    f"Excess {UNIT} The exact number for own total is an upper bound for all policies: a maker alone in the market "
    "earns twice the exchange’s spread on every order, since ε is at most 1."
)


def _label(share: float, risk_aversion: float) -> str:
    return f"γ = {risk_aversion:g}, share {share:g}"


def outperforms_adaptive(found: Outcomes) -> Finding:
    return all_of(
        greater(
            excess(found, adaptive_case(share, 2.0)),
            ZERO,
            names=(f"excess at γ = 2, share {share:g}", "nothing"),
        )
        for share in (0.25, 0.5)
    )


def one_above_the_paper(found: Outcomes) -> Finding:
    findings = []
    for share, risk_aversion in ADAPTIVE:
        ours = (excess(found, adaptive_case(share, risk_aversion, reward)) for reward in REWARD_LABELS)
        best = max(ours, key=lambda estimate: estimate.value)
        paper = Estimate(TABLE_2[share, risk_aversion][-1])
        names = (f"the highest excess at {_label(share, risk_aversion)}", "the paper’s")
        findings.append(greater(best, paper, names=names))
    return all_of(findings)


def closes_the_gap(found: Outcomes) -> Finding:
    averse, neutral = (excess(found, adaptive_case(0.5, risk_aversion)) for risk_aversion in (2.0, 0.0))
    return greater(averse, neutral, names=("excess at γ = 2, share 0.5", "at γ = 0"))


def table_3(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for reward, title in REWARD_LABELS.items():
        rows = []
        for name, label in NAMES.items():
            case, cells = fixed_case(name, reward), []
            for side in ("sell", "buy"):
                paper = PUBLISHED[name]
                mean, std = f"epsilon_{side}_mean", f"epsilon_{side}_std"
                best = exact(found, case, f"epsilon_{side}")
                cells.append(Cell(learner(found, case, mean), paper[mean], best, digits=3))
                cells.append(Cell(found.estimate(case, std, **EXPLORING), paper[std], digits=3))
            rows.append(Row(label, tuple(cells)))
        columns = ("ε ask", "std of ε ask", "ε bid", "std of ε bid")
        note = "Means: the policy at its mode; standard deviations: the first seed with exploration. Exact: Theorem 1."
        tables.append(Table(columns, tuple(rows), note, title))
    return tables


def just_below(found: Outcomes) -> Finding:
    """Below the persistent maker's quote by less than 0.1."""
    findings = []
    for name, quote in (("persistent-0.5", -0.5), ("persistent-0", 0.0)):
        for side in ("buy", "sell"):
            epsilon = learner(found, fixed_case(name), f"epsilon_{side}_mean")
            findings.append(
                within(epsilon, quote - 0.05, 0.05, name=f"mean ε ({side}) against {NAMES[name]}")
            )
    return all_of(findings)


def near_theorem_1(found: Outcomes) -> Finding:
    findings = []
    for name in ("random-0.5", "random-1"):
        case = fixed_case(name)
        for side in ("buy", "sell"):
            epsilon = learner(found, case, f"epsilon_{side}_mean")
            best = exact(found, case, f"epsilon_{side}")
            findings.append(within(epsilon, best, 0.1, name=f"mean ε ({side}) against {NAMES[name]}"))
    return all_of(findings)


FIXED_CASES = select(CASES, experiment="fixed")

ITEMS = (
    Item(
        "table-1",
        "The learner against persistent and random makers",
        "Excess PnL of PPO over its competitor at the mode of its policy, mean of seeds. A maker whose reward is its "
        "own PnL does not maximise excess: its optimality gap is the relevant measure.",
        (*FIXED_CASES, *select(CASES, experiment="paper settings")),
        table_1,
        (
            Claim(
                "section 6.1", "The RL agent outperforms the random and persistent agents.", outperforms_fixed
            ),
            Claim("this project", "Own PnL is within 3% of its exact supremum against all four.", gaps),
            Claim(
                "this project",
                "Trained on relative PnL, excess spread PnL is within 3% of its exact supremum against all four.",
                excess_gaps,
            ),
            Claim(
                "this project",
                "Trained on relative PnL with a discount of 0.7, the excess is above the paper’s.",
                above_the_paper,
            ),
        ),
    ),
    Item(
        "table-2",
        "The learner against adaptive makers",
        "The adaptive maker adapts to the flow that the learner leaves to it.",
        select(CASES, experiment="adaptive"),
        table_2,
        (
            Claim(
                "section 6.1", "It outperforms a risk averse adaptive agent (γ = 2).", outperforms_adaptive
            ),
            Claim("section 6.1", "The adaptive agent does better at lower risk aversion.", closes_the_gap),
            Claim(
                "this project",
                "In every row one of the three rewards leads to more excess than the paper’s.",
                one_above_the_paper,
            ),
        ),
    ),
    Item(
        "table-3",
        "Quotes of the learner",
        "Mean and standard deviation of ε on both sides against the fixed competitors, and Theorem 1.",
        FIXED_CASES,
        table_3,
        (
            Claim("section 6.1", "It prices just below the persistent agent.", just_below),
            Claim(
                "section 6.1", "It prices close to the optimal point against random agents.", near_theorem_1
            ),
        ),
    ),
)
