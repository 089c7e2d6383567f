"""Published values are shown beside a run only if its whole scenario is the paper's."""

import pytest

from twosided.papers.published import published
from twosided.runs.settings import TRAIN
from twosided.settings import PRESETS, build, load, read


def settings(preset, **changes):
    return build(read(TRAIN, load(PRESETS / f"{preset}.toml") | changes))


@pytest.mark.parametrize(
    ("preset", "excess"),
    [
        ("demo-persistent-0", 0.762),
        ("demo-persistent-0.5", 0.293),
        ("demo-random-0.5", 0.597),
        ("demo-random-1", 0.541),
    ],
)
def test_values_of_ganesh2019_belong_to_their_competitor(preset, excess):
    found = published(settings(preset, seeds=1, evaluation_steps=100))
    assert "Ganesh" in found.citation
    assert found.values["excess_total_over_1"] == pytest.approx(excess)


@pytest.mark.parametrize(
    "changes", [{"horizon": 100}, {"reward": "excess-pnl"}, {"market": {"price": {"volatility": 0.2}}}]
)
def test_another_scenario_has_no_published_values(changes):
    assert published(settings("demo-random-1", **changes)) is None
    assert published(settings("limit-order")) is None
