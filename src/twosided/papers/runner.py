"""Runs the cases of a study, in this process or in several at a time.

A finished case is never run again. Several workers are processes of their own, each of which takes one case after
another; they end with their parent, however that ends, and only the cases in flight are lost.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal

from twosided.papers.base import Budget, Case, Study
from twosided.papers.folder import claim, do, finished
from twosided.runs.run import StopFlag
from twosided.runs.settings import RunError

HEARTBEAT = 0.2
"""Seconds between looks at whether a stop was asked for."""


@dataclass(frozen=True)
class Event:
    """What somebody who watches is told."""

    kind: Literal["begins", "tells", "finished", "failed"]
    case: str
    text: str
    """What it tells; how long it took; why it failed."""
    done: int
    """Cases that are over."""
    total: int


Watch = Callable[[Event], None]


def find_study(reference: str) -> Study:
    """The study that "module:attribute" refers to. Raises RunError."""
    try:
        study = resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"no study is found at {reference}: {error}") from error
    if not isinstance(study, Study):
        raise RunError(f"{reference} is not a study, but a {type(study).__name__}")
    return study


def run_cases(
    reference: str,
    cases: Sequence[Case],
    budget: Budget,
    folder: Path,
    workers: int = 1,
    stop: StopFlag | None = None,
    watch: Watch | None = None,
) -> dict[str, str]:
    """Run those of these cases of a study that are not finished; what failed, by case, in a sentence each.

    With one worker they run in this process. Returns early if a stop is asked for: a case hears of it when it next
    tells of its progress. Raises RunError and StoreError.
    """
    claim(folder, find_study(reference).name, budget)
    left = [case for case in cases if not finished(folder, case.name)]
    log = _Log(len(cases), len(cases) - len(left), watch or (lambda event: None))
    stop = stop or StopFlag()
    if workers == 1:
        _here(left, budget, folder, stop, log)
    elif left:
        _elsewhere(reference, left, budget, folder, min(workers, len(left)), stop, log)
    return log.failures


class _Log:
    """Counts what is over, and tells of it."""

    def __init__(self, total: int, done: int, watch: Watch):
        self.total, self.done, self.watch = total, done, watch
        self.failures: dict[str, str] = {}

    def begins(self, case: str) -> None:
        self.watch(Event("begins", case, "", self.done, self.total))

    def tells(self, case: str, text: str) -> None:
        self.watch(Event("tells", case, text, self.done, self.total))

    def over(self, case: str, seconds: float, failure: str) -> None:
        self.done += 1
        if failure:
            self.failures[case] = failure
        kind, text = ("failed", failure) if failure else ("finished", f"took {seconds:.1f} s")
        self.watch(Event(kind, case, text, self.done, self.total))


def _here(cases: Sequence[Case], budget: Budget, folder: Path, stop: StopFlag, log: _Log) -> None:
    """Run cases in this process."""
    for case in cases:

        def tell(text: str, case: Case = case) -> None:
            if stop.is_set:
                raise KeyboardInterrupt
            log.tells(case.name, text)

        if stop.is_set:
            return
        log.begins(case.name)
        try:
            log.over(case.name, *do(case, budget, folder, tell))
        except KeyboardInterrupt:
            if not stop.is_set:
                raise
            return


class _Worker:
    """A process that runs one case after another, seen from its parent."""

    def __init__(self, reference: str, budget: Budget, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(reference, budget, folder, theirs), daemon=True)
        # A Ctrl-C reaches the processes of a terminal all at once; only the parent should act on it. A child
        # inherits what is ignored, so there is no moment at which it is not.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        self.case: str | None = None

    def begin(self, case: str) -> None:
        self.case = case
        with suppress(OSError):  # if it has died, the next look at its pipe says so
            self.pipe.send(case)

    def ask_to_stop(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)

    def end(self) -> None:
        """Every file is whole or not there, so that it can be ended at any time."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _elsewhere(
    reference: str,
    cases: Sequence[Case],
    budget: Budget,
    folder: Path,
    number: int,
    stop: StopFlag,
    log: _Log,
) -> None:
    """Run cases in processes, `number` at a time."""
    waiting = [case.name for case in cases]
    with ExitStack() as ends:

        def hire() -> _Worker:
            worker = _Worker(reference, budget, folder)
            ends.callback(worker.end)
            return worker

        workers, told_to_stop = [hire() for _ in range(number)], False
        while True:
            if stop.is_set:
                waiting.clear()
            for worker in workers:
                if waiting and worker.case is None:
                    log.begins(waiting[0])
                    worker.begin(waiting.pop(0))
            busy = {worker.pipe: worker for worker in workers if worker.case is not None}
            if not busy:
                return
            if stop.is_set and not told_to_stop:
                told_to_stop = True
                for worker in busy.values():
                    worker.ask_to_stop()
            heard = wait(list(busy), timeout=HEARTBEAT)
            for pipe, worker in busy.items():
                if pipe in heard and not _listen(worker, log):
                    workers.remove(worker)
                    if waiting:
                        workers.append(hire())


def _listen(worker: _Worker, log: _Log) -> bool:
    """Take a message from a worker that has sent one; False if it died instead."""
    case = worker.case or ""
    try:
        kind, *content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        log.over(case, 0.0, f"its process ended with code {worker.process.exitcode}{_guess(worker)}")
        return False
    if kind == "tells":
        log.tells(case, *content)
        return True
    worker.case = None
    if kind == "over":
        log.over(case, *content)
    return True


def _guess(worker: _Worker) -> str:
    return ", perhaps for want of memory" if worker.process.exitcode == -9 else ""


def _work(reference: str, budget: Budget, folder: Path, pipe: Connection) -> None:
    """The life of a worker: it takes names of cases, until it is told None or its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cases = {case.name: case for case in find_study(reference).cases}

    def tell(text: str) -> None:
        if pipe.poll():  # what comes while a case runs is the wish that it stop
            raise KeyboardInterrupt
        pipe.send(("tells", text))

    while (name := pipe.recv()) is not None:
        try:
            pipe.send(("over", *do(cases[name], budget, folder, tell)))
        except KeyboardInterrupt:
            pipe.send(("stopped",))
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
