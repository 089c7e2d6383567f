"""Records on the terminal, for people and for programs."""

import json as json_format

from rich.console import Console

from twosided.core.records import Record
from twosided.report.verdict import verdict_table


def print_records(records: list[Record], json: bool) -> None:
    """The records as a table, or as JSON."""
    if json:
        print(json_format.dumps([record.row() for record in records], indent=1))
    else:
        Console().print(verdict_table(records))
