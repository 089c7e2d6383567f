"""What there is to choose from: `twosided list`."""

import json as json_format
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from twosided.papers.ganesh2019 import COMPETITORS
from twosided.settings import PRESETS, Settings, about, choices, ready_made

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
    """What there is to choose from."""

    what: Literal[
        "all", "markets", "prices", "flows", "policies", "rewards", "learners", "scenarios", "presets"
    ] = "all"
    """What to list."""
    json: bool = False
    """Print it as JSON."""

    def __call__(self, settings: Settings) -> int:
        found = {what: {part.kind: part.summary for part in choices(root)} for what, root in LISTED.items()}
        found["scenarios"] = {f"demo --competitor {name}": spec for name, spec in COMPETITORS.items()}
        found["presets"] = {
            f"train --preset {name}": about(path) for name, path in ready_made(PRESETS).items()
        }
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
