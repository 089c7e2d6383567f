"""Results of an evaluation as rows and text, and as a table for the terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rich import box
from rich.table import Table
from rich.text import Text

from twosided.core.metrics import GAP, MARKET_SHARE, OTHER, PARTS, Metric, MetricGroup, by_name, find_metric
from twosided.core.records import IN_SAMPLE, MEAN, UNSEEN, Record

DATA = {
    UNSEEN: "Data: test, unseen (the last part of the history, held out of training).",
    IN_SAMPLE: "Warning: in sample. The makers were trained on the same data, and none were held out.",
}
"""Sentences on the data of records."""
WITH_ERROR = {GAP.name, "pnl_total"}
"""Metrics whose standard errors the table of a terminal has room for."""


@dataclass(frozen=True)
class Results:
    """Records of the evaluated maker, by case and metric, in their order."""

    records: Sequence[Record]

    @cached_property
    def of(self) -> dict[tuple[str, str], Record]:
        """Records of maker 0 by case and metric."""
        return {(record.case, record.metric): record for record in self.records if record.maker == 0}

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(case for case, _ in self.of))

    @property
    def headline(self) -> str | None:
        """Case that stands for all: the mean of seeds, or else the first."""
        return MEAN if MEAN in self.cases else next(iter(self.cases), None)

    @property
    def has_competitors(self) -> bool:
        """Whether makers compete; a single maker has all of the market."""
        return any(record.maker > 0 or record.metric.startswith("excess_") for record in self.records)

    @property
    def errors(self) -> str:
        """Sentences on what the standard errors are over, and why some are missing."""
        stated = [record for record in self.of.values() if record.error_over]
        over = dict.fromkeys(record.error_over for record in stated if record.error is not None)
        missing = dict.fromkeys(
            record.error_over for record in stated if record.unknown and record.metric == "pnl_total"
        )
        sentences = [f"±: standard error, over {' or '.join(over)}."] if over else []
        sentences += [f"{reason[:1].upper()}{reason[1:]}." for reason in missing]
        return " ".join([*(sentences or ["±: standard error."]), *self.data])

    @property
    def data(self) -> list[str]:
        """Sentences on the recorded data that trained makers were evaluated on."""
        found = dict.fromkeys(record.data for record in self.of.values())
        return [DATA[data] for data in found if data in DATA]

    def text(self, case: str, metric: Metric, brief: bool = False) -> tuple[str, str]:
        """Return a value and its standard error as displayed; empty where there is none."""
        record = self.of.get((case, metric.name))
        return ("", "") if record is None else metric.text(record.value, record.error, brief)

    def has(self, metric: Metric) -> bool:
        """Return whether a table shows the metric: it was measured, and is not 0 throughout if it is optional."""
        values = [record.value for (_, name), record in self.of.items() if name == metric.name]
        if metric.name == MARKET_SHARE.name and not self.has_competitors:
            return False
        return any(values) if metric.optional else bool(values)


def groups(results: Results, catalogue: Iterable[MetricGroup]) -> list[MetricGroup]:
    """Return the catalogue as far as the results have it, and the metrics that it does not list under "Other".

    Repetitions are left out unless they are listed: the parts of an episode's PnL are those per step times the horizon,
    and the mean of inventory PnL is a part of PnL.
    """
    catalogue = list(catalogue)
    known = {*by_name(catalogue), MARKET_SHARE.name, "inventory_pnl_mean"}
    known |= {f"episode_pnl_{part}" for part in PARTS}
    names = dict.fromkeys(name for _, name in results.of if name not in known)
    other = replace(OTHER, metrics=tuple(Metric(name, name.replace("_", " ")) for name in names))
    shown = [
        replace(group, metrics=tuple(metric for metric in group.metrics if results.has(metric)))
        for group in (*catalogue, other)
    ]
    return [group for group in shown if group.metrics]


def results_table(records: Iterable[Record], catalogue: Iterable[MetricGroup]) -> Table:
    """Return the results as a table for a terminal of 80 columns, one row per case."""
    results = Results(list(records))
    catalogue = list(catalogue)
    columns = [m for m in by_name(catalogue).values() if m.short and results.has(m)]
    notes = [f"PnL and its parts: {find_metric(catalogue, 'pnl_total').unit}.", results.errors]
    if results.has(GAP):
        notes.append("gap: shortfall from the exact optimum, in percent.")
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        caption="\n".join(notes),
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("policy", min_width=13, overflow="fold")
    for metric in columns:
        table.add_column(metric.short, justify="right", overflow="fold")
    for case in results.cases:
        cells = []
        for metric in columns:
            value, error = results.text(case, metric, brief=True)
            cells.append(f"{value} ± {error}" if metric.name in WITH_ERROR and error else value)
        table.add_row(Text(case), *cells, style="bold" if case == results.headline else None)
    return table
