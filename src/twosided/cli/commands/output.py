"""Records on the terminal, for people and for programs."""

import json as json_format
from collections.abc import Sequence

from rich.console import Console

from twosided.core.metrics import MetricGroup
from twosided.core.records import Record
from twosided.report.results import results_table


def print_records(records: list[Record], catalogue: Sequence[MetricGroup], json: bool) -> None:
    """Print records as a table, labelled and scaled by the market's catalogue of metrics, or as JSON."""
    if json:
        print(json_format.dumps([record.row() for record in records], indent=1))
    else:
        Console().print(results_table(records, catalogue))
