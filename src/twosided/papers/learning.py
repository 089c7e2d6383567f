"""What the cases of a study share that train policies and judge them."""

from collections.abc import Callable, Mapping

import polars as pl

from twosided.core.evaluation import evaluate
from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.scenario import Scenario
from twosided.learn.base import Learner
from twosided.learn.train import Progress, train
from twosided.papers.base import Budget, Estimate, Outcomes, Tell, mean


def fit(
    scenario: Scenario,
    learner: Learner,
    budget: Budget,
    tell: Tell,
    chunks: int = 20,
    look: Callable[[Progress], object] = lambda progress: None,
    resume: Progress | None = None,
) -> tuple[tuple[Policy, ...], pl.DataFrame]:
    """Trained policies, one a seed, and the curve of their training, a row a chunk and seed."""
    rows = []

    def after_chunk(progress: Progress) -> None:
        for i in range(budget.seeds):
            rows.append({"seed": i} | {name: float(x[i]) for name, x in progress.curve.items()})
        look(progress)
        share = 100 * progress.iteration / progress.iterations
        tell(f"{share:.0f}% trained, score {100 * progress.curve['score'].mean():.1f}")

    tell("compiling")
    policies, _ = train(scenario, learner, budget.seed, budget.seeds, chunks, resume, after_chunk)
    return policies, pl.DataFrame(rows)


def judge_in_turn(
    scenario: Scenario,
    learned: Mapping[str, tuple[Policy, ...]],
    others: Mapping[str, Policy],
    budget: Budget,
    tell: Tell,
    steps: int,
) -> list[Record]:
    """Every policy on as many drawings of chance as there are seeds; of what was learned, seed i on drawing i alone.

    So differences of two policies, drawing by drawing, are independent and have all their chance in them.
    """
    records = []
    for i in range(budget.seeds):
        tell(f"judging on drawing {i + 1} of {budget.seeds}")
        cases = {name: policies[i] for name, policies in learned.items()} | dict(others)
        named = {drawing(name, i): policy for name, policy in cases.items()}
        records += evaluate(scenario, named, budget.seed + i, steps)
    return records


def drawing(name: str, i: int) -> str:
    """The case of a policy on one of the drawings."""
    return f"{name}, {i}"


def drawings(found: Outcomes, case: str, name: str, metric: str) -> list[float]:
    """A metric of a policy, drawing by drawing."""
    return [found.record(case, drawing(name, i), metric).value for i in range(found.budget.seeds)]


def over_drawings(found: Outcomes, case: str, name: str, metric: str) -> Estimate:
    return mean(drawings(found, case, name, metric))


def difference(found: Outcomes, case: str, a: str, b: str, metric: str) -> Estimate:
    """Of two policies, pair by pair."""
    pairs = zip(drawings(found, case, a, metric), drawings(found, case, b, metric), strict=True)
    return mean([x - y for x, y in pairs])


def exact(case: str, **metrics: float) -> list[Record]:
    """Records of what is known exactly."""
    return [Record(case, 0, name, float(value)) for name, value in metrics.items()]
