"""Page of a run: its results, learning curves, policy and provenance as one HTML file."""

import inspect
import tomllib
from typing import Any

from twosided.core import store
from twosided.core.dashboard import PolicyTable
from twosided.core.names import kebab
from twosided.core.optimum import StoredOptimum
from twosided.report.pages import Provenance, Published, results_page
from twosided.runs.results import RunResults
from twosided.runs.settings import TrainSettings, named
from twosided.settings import DIGESTS, first_sentence


def run_page(
    settings: TrainSettings, text: str, results: RunResults, published: Published | None = None
) -> str:
    """Return the page of a run, finished or not.

    `text` is the settings as TOML. `published` are values that somebody else published for the same scenario.
    """
    about = results.about
    optimum = about.get("optimum", {})
    done = about.get("done", 1.0)
    progress = f" Training is in progress: {100 * done:.0f}% done." if done < 1 else ""
    scenario = settings.scenario
    return results_page(
        _title(settings),
        results.records,
        scenario.market.metrics(),
        scenario.market.dashboard(),
        summary=_summary(settings) + progress,
        refresh=bool(progress),
        compared=[optimum.get("name", "")],
        curves=results.curve,
        trace=results.trace,
        traced=about.get("traced", "seed 0"),
        optimum=_optimum(optimum),
        no_optimum=optimum.get("why_not", ""),
        published=published,
        table=PolicyTable(**about["table"]) if about.get("table") else None,
        provenance=Provenance(command=_command(text), settings=text, facts=_facts(about)),
    )


def _command(text: str) -> str:
    """Return the command that repeats the run, with the Python files that its settings name."""
    trust = "".join(f" --trust {name}" for name in tomllib.loads(text).get(DIGESTS, {}))
    return f"twosided train --settings {store.SETTINGS}{trust}"


def _optimum(stored: dict[str, Any]) -> StoredOptimum | None:
    return StoredOptimum(**stored) if "value" in stored else None


def _facts(about: dict[str, Any]) -> dict[str, str]:
    """Return the machine, the time of every stage and the versions of packages."""
    if "host" not in about:
        return {}
    seconds = {f"time of {stage}": f"{value:.0f} s" for stage, value in about.get("seconds", {}).items()}
    return {"machine": about["host"], **seconds, **about["versions"]}


def _title(settings: TrainSettings) -> str:
    if settings.competitors:
        return f"A market maker against {' and '.join(f'a {name}' for name in named(settings.competitors))}"
    return f"A market maker in the {kebab(type(settings.market).__name__).replace('-', ' ')}"


def _summary(settings: TrainSettings) -> str:
    """Return what happens in the market and what was trained, for a reader who is new to it."""
    market = type(settings.market)
    introduction = settings.market.dashboard().introduction or first_sentence(inspect.getdoc(market) or "")
    seeds = "once" if settings.seeds == 1 else f"{settings.seeds} times, with different seeds"
    return f"{introduction} One maker was trained from scratch {seeds}, by {type(settings.learner).__name__}."
