"""Tables 4 to 6 of Ganesh et al. (2019): PnL of the adaptive maker, and of ways of hedging."""

from collections.abc import Callable, Mapping

from twosided.core.records import Parameter
from twosided.papers.base import (
    Cell,
    Claim,
    Figure,
    Finding,
    Item,
    Outcomes,
    Row,
    Table,
    all_of,
    greater,
    within,
)
from twosided.papers.ganesh2019.cases import ADAPTIVE, DAYS, HEDGERS
from twosided.papers.ganesh2019.estimates import PARTS, UNIT, ZERO, excess, own

TABLE_4 = {
    (0.25, 0.0): (14.64, 0.02, 8.67, 23.33),
    (0.25, 1.0): (10.34, -0.06, 8.21, 18.48),
    (0.25, 2.0): (0.61, 0.03, 5.19, 5.83),
    (0.50, 0.0): (55.7, 0.14, 2.77, 58.61),
    (0.50, 1.0): (47.75, -0.09, 2.58, 50.23),
    (0.50, 2.0): (34.01, -0.15, -2.18, 31.68),
}
TABLE_5 = {
    (0.25, 0.0): (13.85, -0.03, 28.98, 42.81),
    (0.25, 1.0): (-7.3, -0.1, 28.32, 20.92),
    (0.25, 2.0): (-21.35, -0.07, 25.66, 4.24),
    (0.50, 0.0): (28.81, 0.25, 25.38, 54.44),
    (0.50, 1.0): (20.84, 0.02, 24.88, 45.74),
    (0.50, 2.0): (17.05, -0.03, 17.19, 34.22),
}
"""By share target and risk aversion: the adaptive maker's excess by part."""
TABLE_6 = (
    (51.36, 0.07, -15.70, 35.73),
    (51.43, -0.03, -3.84, 47.57),
    (51.39, 0.02, -0.22, 51.19),
    (51.34, 0.10, -1.23, 50.21),
    (51.53, -0.07, -2.30, 49.17),
    (50.56, -0.01, -43.47, 7.08),
)
"""PnL by part, in the order of HEDGERS."""
HEDGER_LABELS = {
    "random": "random, x in [0, 1]",
    "persistent": "persistent, x = 0.2",
    "adaptive": "adaptive",
    "ignoring": "ignoring internalisation",
}


COMPETITOR_LABELS = {None: "Persistent,", True: "One ε for both sides,", False: "One ε for each side,"}
"""By whether a random competitor draws one ε for both sides; None for the persistent one, which draws none."""


def _adaptive_table(
    case: str, draws: tuple[bool | None, ...], printed: Mapping[tuple[float, float], tuple[float, ...]]
) -> Callable[[Outcomes], list[Table | Figure]]:
    def content(found: Outcomes) -> list[Table | Figure]:
        tables = []
        for symmetric in draws:
            for hours in DAYS:
                rows = []
                for share, risk_aversion in printed:
                    maker = _adaptive(symmetric, hours, share, risk_aversion)
                    cells = tuple(
                        Cell(excess(found, case, part, **maker), value)
                        for part, value in zip(PARTS, printed[share, risk_aversion], strict=True)
                    )
                    rows.append(Row(_label(share, risk_aversion), cells))
                title = f"{COMPETITOR_LABELS[symmetric]} days of {hours:g} h"
                tables.append(Table(PARTS, tuple(rows), f"Excess {UNIT}", title))
        return tables

    return content


def _adaptive(
    symmetric: bool | None, hours: float, share: float, risk_aversion: float
) -> dict[str, Parameter]:
    """Parameters of an adaptive maker's records."""
    maker: dict[str, Parameter] = {"day_hours": hours, "share": share, "risk_aversion": risk_aversion}
    return maker if symmetric is None else {**maker, "symmetric": symmetric}


def _label(share: float, risk_aversion: float) -> str:
    return f"share {share:g}, γ = {risk_aversion:g}"


def adaptive_outperforms(case: str, symmetric: bool | None = None) -> Callable[[Outcomes], Finding]:
    """In days of 24 hours."""

    def test(found: Outcomes) -> Finding:
        return all_of(
            greater(
                excess(found, case, **_adaptive(symmetric, 24.0, share, risk_aversion)),
                ZERO,
                names=(f"excess at {_label(share, risk_aversion)}", "nothing"),
            )
            for share, risk_aversion in ADAPTIVE
        )

    return test


def less_competitive(case: str, symmetric: bool | None = None) -> Callable[[Outcomes], Finding]:
    """The larger the risk aversion, the smaller the excess, in days of 24 hours."""

    def test(found: Outcomes) -> Finding:
        findings = []
        for share in (0.25, 0.5):
            for low, high in ((0.0, 1.0), (1.0, 2.0)):
                less, more = (
                    excess(found, case, **_adaptive(symmetric, 24.0, share, risk_aversion))
                    for risk_aversion in (low, high)
                )
                findings.append(greater(less, more, names=(_label(share, low), f"γ = {high:g}")))
        return all_of(findings)

    return test


def _hedger_label(hedger: Mapping[str, Parameter]) -> str:
    label = HEDGER_LABELS[str(hedger["hedger"])]
    return f"{label}, γ = {hedger['risk_aversion']:g}" if "risk_aversion" in hedger else label


def table_6(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for hours in DAYS:
        rows = []
        for hedger, printed in zip(HEDGERS, TABLE_6, strict=True):
            cells = tuple(
                Cell(own(found, "hedging", part, **hedger, day_hours=hours), value)
                for part, value in zip(PARTS, printed, strict=True)
            )
            rows.append(Row(_hedger_label(hedger), cells))
        tables.append(Table(PARTS, tuple(rows), UNIT, f"Days of {hours:g} h"))
    return tables


def adaptive_hedges_best(found: Outcomes) -> Finding:
    random, persistent, *_ = HEDGERS
    findings = []
    for risk_aversion in (1.0, 2.0):
        adaptive, ignoring = (
            {"hedger": hedger, "risk_aversion": risk_aversion} for hedger in ("adaptive", "ignoring")
        )
        for other in (random, persistent, ignoring):
            a, b = (own(found, "hedging", **hedger, day_hours=24.0) for hedger in (adaptive, other))
            findings.append(greater(a, b, names=(_hedger_label(adaptive), _hedger_label(other))))
    return all_of(findings)


def over_hedges(found: Outcomes) -> Finding:
    """In days of 24 hours."""
    cost = own(found, "hedging", "hedge", hedger="ignoring", risk_aversion=2.0, day_hours=24.0)
    return within(cost, -43.0, 5.0, name="hedge cost for γ = 2 that ignores internalisation")


ITEMS = (
    Item(
        "table-4",
        "The adaptive maker against a persistent one",
        "The competitor quotes ε = −0.5 to buy and 0 to sell and hedges 0.2. The paper does not state the length "
        "of its trading day, which determines the risk of a step.",
        ("adaptive-persistent",),
        _adaptive_table("adaptive-persistent", (None,), TABLE_4),
        (
            Claim(
                "section 7.7",
                "The adaptive agent outperforms in total PnL.",
                adaptive_outperforms("adaptive-persistent"),
            ),
            Claim(
                "section 7.7",
                "More risk aversion makes it less competitive.",
                less_competitive("adaptive-persistent"),
            ),
        ),
    ),
    Item(
        "table-5",
        "The adaptive maker against a random one",
        "Section 7.7 has one ε for both sides, section 3.1 one for each side: both are shown.",
        ("adaptive-random",),
        _adaptive_table("adaptive-random", (True, False), TABLE_5),
        (
            Claim(
                "section 7.7",
                "The adaptive agent outperforms in total PnL (one ε for each side).",
                adaptive_outperforms("adaptive-random", symmetric=False),
            ),
            Claim(
                "section 7.7",
                "More risk aversion makes it less competitive (one ε for each side).",
                less_competitive("adaptive-random", symmetric=False),
            ),
        ),
    ),
    Item(
        "table-6",
        "Ways of hedging under the same prices",
        "An adaptive maker’s prices (share 0.5, γ = 0) with six ways of hedging, against "
        "PersistentQuoter(0). The cost of "
        "ignoring internalisation at γ = 1 and 2 implies the paper’s risk of a step: between half and all of the cost "
        "of the last unit of a hedge, as for days of 24 hours.",
        ("hedging",),
        table_6,
        (
            Claim(
                "section 7.6",
                "The adaptive hedging policy outperforms the alternatives.",
                adaptive_hedges_best,
            ),
            Claim("section 7.6", "Ignoring internalisation costs 43 in hedges for γ = 2.", over_hedges),
        ),
    ),
)
