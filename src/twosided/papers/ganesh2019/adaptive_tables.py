"""Tables 4 to 6 of Ganesh et al. (2019): what the adaptive maker earns, and what its hedging saves."""

from collections.abc import Mapping

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
from twosided.papers.ganesh2019.cases import ADAPTIVE, DAYS, HEDGES
from twosided.papers.ganesh2019.readings import NOTHING, PARTS, UNIT, excess, own

TABLE_4 = {
    (0.25, 0): (14.64, 0.02, 8.67, 23.33),
    (0.25, 1): (10.34, -0.06, 8.21, 18.48),
    (0.25, 2): (0.61, 0.03, 5.19, 5.83),
    (0.50, 0): (55.7, 0.14, 2.77, 58.61),
    (0.50, 1): (47.75, -0.09, 2.58, 50.23),
    (0.50, 2): (34.01, -0.15, -2.18, 31.68),
}
TABLE_5 = {
    (0.25, 0): (13.85, -0.03, 28.98, 42.81),
    (0.25, 1): (-7.3, -0.1, 28.32, 20.92),
    (0.25, 2): (-21.35, -0.07, 25.66, 4.24),
    (0.50, 0): (28.81, 0.25, 25.38, 54.44),
    (0.50, 1): (20.84, 0.02, 24.88, 45.74),
    (0.50, 2): (17.05, -0.03, 17.19, 34.22),
}
"""By share target and risk aversion: the adaptive maker's excess by part."""
TABLE_6 = {
    "random": (51.36, 0.07, -15.70, 35.73),
    "persistent": (51.43, -0.03, -3.84, 47.57),
    "adaptive 1": (51.39, 0.02, -0.22, 51.19),
    "adaptive 2": (51.34, 0.10, -1.23, 50.21),
    "ignoring 1": (51.53, -0.07, -2.30, 49.17),
    "ignoring 2": (50.56, -0.01, -43.47, 7.08),
}
"""PnL by part under each way of hedging."""
HEDGING = {
    "random": "random, x in [0, 1]",
    "persistent": "persistent, x = 0.2",
    "adaptive 1": "adaptive, γ = 1",
    "adaptive 2": "adaptive, γ = 2",
    "ignoring 1": "ignoring internalisation, γ = 1",
    "ignoring 2": "ignoring internalisation, γ = 2",
}


def _adaptive_table(case: str, names: dict[str, str], theirs: Mapping):
    def content(found: Outcomes) -> list[Table | Figure]:
        tables = []
        for name, label in names.items():
            for hours in DAYS:
                rows = []
                for share in (0.25, 0.5):
                    for aversion in (0, 1, 2):
                        maker = f"{name}, {hours}, {share}, {aversion}"
                        cells = tuple(
                            Cell(excess(found, case, maker, part), value)
                            for part, value in zip(PARTS, theirs[share, aversion], strict=True)
                        )
                        rows.append(Row(f"share {share:g}, γ = {aversion}", cells))
                title = f"{label} days of {hours}"
                tables.append(Table(PARTS, tuple(rows), f"Excess {UNIT}", title))
        return tables

    return content


def adaptive_outperforms(case: str, name: str, hours: str = "24 h"):
    def test(found: Outcomes) -> Finding:
        return all_of(
            greater(
                excess(found, case, f"{name}, {hours}, {share}, {aversion}"),
                NOTHING,
                names=(f"excess at share {share:g}, γ = {aversion}", "nothing"),
            )
            for share, aversion in ADAPTIVE
        )

    return test


def less_competitive(case: str, name: str, hours: str = "24 h"):
    """The more averse to risk, the smaller the excess."""

    def test(found: Outcomes) -> Finding:
        findings = []
        for share in (0.25, 0.5):
            series = [excess(found, case, f"{name}, {hours}, {share}, {aversion}") for aversion in (0, 1, 2)]
            for i in (0, 1):
                names = (f"share {share:g}, γ = {i}", f"γ = {i + 1}")
                findings.append(greater(series[i], series[i + 1], names=names))
        return all_of(findings)

    return test


def table_6(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for hours in DAYS:
        rows = []
        for way in HEDGES:
            cells = tuple(
                Cell(own(found, "hedging", f"{hours}, {way}", part), value)
                for part, value in zip(PARTS, TABLE_6[way], strict=True)
            )
            rows.append(Row(HEDGING[way], cells))
        tables.append(Table(PARTS, tuple(rows), UNIT, f"Days of {hours}"))
    return tables


def adaptive_hedges_best(found: Outcomes) -> Finding:
    findings = []
    for ours in ("adaptive 1", "adaptive 2"):
        for other in ("random", "persistent", f"ignoring {ours[-1]}"):
            a, b = (own(found, "hedging", f"24 h, {way}") for way in (ours, other))
            findings.append(greater(a, b, names=(HEDGING[ours], HEDGING[other])))
    return all_of(findings)


def over_hedges(hours: str):
    def test(found: Outcomes) -> Finding:
        cost = own(found, "hedging", f"{hours}, ignoring 2", "hedge")
        return within(cost, -43.0, 5.0, name="hedge cost for γ = 2 that ignores internalisation")

    return test


ITEMS = (
    Item(
        "table-4",
        "The adaptive maker against a persistent one",
        "The competitor quotes ε = −0.5 to buy and 0 to sell and hedges 0.2. The paper does not say how long its "
        "trading day is; that sets the risk of a step.",
        ("adaptive-persistent",),
        _adaptive_table("adaptive-persistent", {"persistent": "Persistent,"}, TABLE_4),
        (
            Claim(
                "section 7.7",
                "The adaptive agent outperforms in total PnL.",
                adaptive_outperforms("adaptive-persistent", "persistent"),
            ),
            Claim(
                "section 7.7",
                "More risk aversion makes it less competitive.",
                less_competitive("adaptive-persistent", "persistent"),
            ),
        ),
    ),
    Item(
        "table-5",
        "The adaptive maker against a random one",
        "Section 7.7 writes one ε for both sides, section 3.1 draws them apart: both are shown.",
        ("adaptive-random",),
        _adaptive_table(
            "adaptive-random", {"one draw": "One ε for both sides,", "two draws": "An ε a side,"}, TABLE_5
        ),
        (
            Claim(
                "section 7.7",
                "The adaptive agent outperforms in total PnL (an ε a side).",
                adaptive_outperforms("adaptive-random", "two draws"),
            ),
            Claim(
                "section 7.7",
                "More risk aversion makes it less competitive (an ε a side).",
                less_competitive("adaptive-random", "two draws"),
            ),
        ),
    ),
    Item(
        "table-6",
        "Ways of hedging under the same prices",
        "An adaptive maker’s prices (share 0.5, γ = 0) with six ways of hedging, against "
        "PersistentQuoter(0). The cost of "
        "ignoring internalisation at γ = 1 and 2 tells how large the paper’s risk of a step was: between half and all "
        "of what the last unit of a hedge costs, as for days of 24 hours.",
        ("hedging",),
        table_6,
        (
            Claim(
                "section 7.6",
                "The adaptive hedging policy outperforms the alternatives.",
                adaptive_hedges_best,
            ),
            Claim(
                "section 7.6", "Ignoring internalisation costs 43 in hedges for γ = 2.", over_hedges("24 h")
            ),
        ),
    ),
)
