"""Parts and presets to choose from: `twosided list`."""

import json as json_format
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from twosided.settings import Settings, choices, describe_preset, preset_files

LISTED = {
    "markets": "twosided.core.market:Market",
    "prices": "twosided.prices:PriceProcess",
    "flows": "twosided.dealer.investors:OrderFlow",
    "policies": "twosided.core.policy:Policy",
    "rewards": "twosided.core.reward:Reward",
    "learners": "twosided.learn.base:Learner",
}


@dataclass(frozen=True)
class List:
    """List the parts and presets to choose from.

    Example:

        twosided list policies
    """

    what: Literal[
        "all", "markets", "prices", "flows", "policies", "rewards", "learners", "competitors", "presets"
    ] = "all"
    """Parts or presets to list. `competitors` are the names that `twosided demo --competitor` takes."""
    json: bool = False
    """Print the list as JSON."""

    def __call__(self, settings: Settings) -> int:
        found = {what: {part.kind: part.summary for part in choices(root)} for what, root in LISTED.items()}
        for what, files in {"competitors": preset_files("demo-"), "presets": preset_files()}.items():
            found[what] = {name: describe_preset(path) for name, path in files.items()}
        found = {what: names for what, names in found.items() if self.what in ("all", what)}
        if self.json:
            print(json_format.dumps(found, indent=1))
            return 0
        table = Table(box=None, show_header=False, pad_edge=False)
        for what, names in found.items():
            table.add_row(f"[bold]{what}[/]", "")
            for name, summary in names.items():
                table.add_row(f"  {name}", summary)
        Console().print(table)
        return 0
