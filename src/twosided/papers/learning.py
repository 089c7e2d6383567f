"""Training and evaluation for the cases of several studies.

Makers are identified by parameters: a pair of parameters and policy, or of parameters and one policy per seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import polars as pl

from twosided.core.evaluation import evaluate
from twosided.core.policy import Policy
from twosided.core.records import MEAN, Parameter, Record, mean_of_cases
from twosided.core.scenario import Scenario
from twosided.learn.base import Learner
from twosided.learn.train import Progress, train
from twosided.papers.base import Budget, Estimate, Outcomes, Report, mean

Parameters: TypeAlias = Mapping[str, Parameter]


def train_policies(
    scenario: Scenario,
    learner: Learner,
    budget: Budget,
    report: Report,
    chunks: int = 20,
    look: Callable[[Progress], object] = lambda progress: None,
    resume: Progress | None = None,
) -> tuple[tuple[Policy, ...], pl.DataFrame]:
    """Return trained policies, one per seed, and the learning curve, with one row per chunk of training and seed."""
    rows = []

    def after_chunk(progress: Progress) -> None:
        for i in range(budget.seeds):
            rows.append({"seed": i} | {name: float(x[i]) for name, x in progress.curve.items()})
        look(progress)
        share = 100 * progress.iteration / progress.iterations
        report(f"{share:.0f}% trained, PnL {100 * progress.curve['eval_pnl'].mean():.1f}")

    report("compiling")
    policies, _ = train(scenario, learner, budget.seed, budget.seeds, chunks, resume, after_chunk)
    return policies, pl.DataFrame(rows)


def evaluate_makers(
    scenario: Scenario,
    makers: Sequence[tuple[Parameters, Policy]],
    seed: int,
    steps: int,
    optimum: float | None = None,
    report: Report = lambda text: None,
) -> list[Record]:
    """Return records of `evaluate` on common random numbers, each with the parameters of its maker."""
    named = {str(i): policy for i, (_, policy) in enumerate(makers)}
    parameters = {str(i): own for i, (own, _) in enumerate(makers)}

    def progress(name: str) -> None:
        report(f"evaluating {', '.join(f'{key} {value}' for key, value in parameters[name].items())}")

    records = evaluate(scenario, named, seed, steps, optimum, progress=progress)
    return [replace(record, case="", parameters=parameters[record.case]) for record in records]


def evaluate_seeds(
    scenario: Scenario,
    learned: tuple[Parameters, Sequence[Policy]],
    others: Sequence[tuple[Parameters, Policy]],
    seed: int,
    steps: int,
    optimum: float | None = None,
    report: Report = lambda text: None,
) -> list[Record]:
    """Records of each seed's policy, its `replication`, and of other makers, all on the same random numbers; then of
    the means over the seeds."""
    parameters, policies = learned
    makers = [({**parameters, "replication": i}, policy) for i, policy in enumerate(policies)]
    records = evaluate_makers(scenario, [*makers, *others], seed, steps, optimum, report)
    return records + mean_of_replications(records, parameters)


def mean_of_replications(records: Iterable[Record], parameters: Parameters) -> list[Record]:
    """Means over the records that have these parameters and a `replication`, by seat and metric.

    They have the parameters and the number of `replications`. Errors are those of `mean_of_cases`: all replications
    were measured on common random numbers.
    """
    asked = [
        replace(record, case=str(record.parameters["replication"]))
        for record in records
        if "replication" in record.parameters
        and {**parameters, "replication": record.parameters["replication"]} == record.parameters
    ]
    cases = list(dict.fromkeys(record.case for record in asked))
    means = mean_of_cases(asked, cases, MEAN)
    return [replace(r, case="", parameters={**parameters, "replications": len(cases)}) for r in means]


def evaluate_replications(
    scenario: Scenario,
    learned: Sequence[tuple[Parameters, Sequence[Policy]]],
    others: Sequence[tuple[Parameters, Policy]],
    budget: Budget,
    report: Report,
    steps: int,
) -> list[Record]:
    """Records of every maker in as many replications as there are seeds, each on random numbers of its own.

    In replication i the policy of seed i stands for a learner, beside the other makers on common random numbers. So
    the differences of two makers, replication by replication, are independent and contain all randomness, that of
    training included.
    """
    records = []
    for i in range(budget.seeds):
        report(f"evaluating replication {i + 1} of {budget.seeds}")
        makers = [*((own, policies[i]) for own, policies in learned), *others]
        named = [({**own, "replication": i}, policy) for own, policy in makers]
        records += evaluate_makers(scenario, named, budget.seed + i, steps)
    return records


def replications(found: Outcomes, case: str, metric: str, /, **parameters: Parameter) -> list[float]:
    """Values of a metric of a maker, one per replication."""
    return [found.record(case, metric, replication=i, **parameters).value for i in range(found.budget.seeds)]


def over_replications(found: Outcomes, case: str, metric: str, /, **parameters: Parameter) -> Estimate:
    """Return the mean of a metric of a maker over replications."""
    return mean(replications(found, case, metric, **parameters))


def difference(found: Outcomes, case: str, metric: str, a: Parameters, b: Parameters) -> Estimate:
    """Return the mean over replications of the difference of two makers, a less b."""
    pairs = zip(replications(found, case, metric, **a), replications(found, case, metric, **b), strict=True)
    return mean([x - y for x, y in pairs])


def labelled(frame: pl.DataFrame, label: Callable[..., str], *columns: str) -> pl.DataFrame:
    """The table with a column `series`: a label for people, made from the values of some columns."""
    labels = [label(*values) for values in frame.select(columns).iter_rows()]
    return frame.with_columns(series=pl.Series(labels, dtype=pl.String))
