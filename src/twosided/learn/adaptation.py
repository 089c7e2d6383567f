"""Continual learning: one maker trained in several markets, one after the other."""

from collections.abc import Callable, Sequence

from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.learn.base import Learner
from twosided.learn.train import Progress, train


def adapt(
    scenarios: Sequence[Scenario],
    learner: Learner,
    seed: int = 0,
    seeds: int = 1,
    chunks: int = 20,
    after_chunk: Callable[[int, Progress], None] = lambda scenario, progress: None,
) -> list[tuple[Policy, ...]]:
    """Train in each scenario in turn, for the full length of the learner, and return the policies after each.

    The training state, including the state of the market, carries over when the parameters of the market change; the
    maker does not observe the change. Schedules run in the first scenario and stay at their final values in the
    others. `after_chunk` receives the index of the scenario and the progress in it. The result has one tuple of
    policies, one per seed, for each scenario.
    """
    check("scenarios", len(scenarios), "at least 1", len(scenarios) >= 1)
    found, states = [], None
    for number, scenario in enumerate(scenarios):
        resume = None if states is None else Progress(0, learner.iterations, states, {})
        policies, progress = train(
            scenario, learner, seed, seeds, chunks, resume, lambda p, number=number: after_chunk(number, p)
        )
        found.append(policies)
        states = progress.states
    return found
