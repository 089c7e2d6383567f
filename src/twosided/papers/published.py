"""Values that papers published for the scenario of a run."""

import equinox as eqx

from twosided.papers import ganesh2019
from twosided.report.pages import Published
from twosided.runs.settings import TRAIN, TrainSettings
from twosided.settings import PRESETS, build, load, read

SOURCES = {ganesh2019.CITATION: {f"demo-{name}": values for name, values in ganesh2019.PUBLISHED.items()}}
"""Published values by citation and by the preset whose scenario they belong to."""


def published(settings: TrainSettings) -> Published | None:
    """Return the values that a paper published for the scenario of a run; None if there are none."""
    for citation, values_of in SOURCES.items():
        for preset, values in values_of.items():
            path = PRESETS / f"{preset}.toml"
            theirs: TrainSettings = build(read(TRAIN, load(path), path.name))
            if eqx.tree_equal(settings.scenario, theirs.scenario):
                return Published(citation, values)
    return None
