"""Learning on while the market changes: one maker through several markets, one after the other."""

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
    """Train through the scenarios in turn, each for the whole length of the learner; the policies at the end of each.

    A maker keeps what it knows, and its place in the market, when the market's parameters change; nobody tells it
    that they do. Schedules of the learner run their course in the first scenario and stay at their end in the others.
    `after_chunk` is told which scenario the progress is in.
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
