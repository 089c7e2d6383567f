"""Run the cases of a study, in this process or in several at a time.

A finished case is never run again. Several workers are processes, each of which runs one case after another. They end
with their parent, however it ends, and only the cases in progress are lost.
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
from twosided.papers.folder import claim_folder, is_finished, run_case
from twosided.runs.run import StopFlag
from twosided.runs.settings import RunError

HEARTBEAT = 0.2
"""Seconds between checks for a request to stop."""


@dataclass(frozen=True)
class Event:
    """Event in the run of a study."""

    kind: Literal["started", "progress", "finished", "failed"]
    case: str
    text: str
    """Line of progress, duration, or reason of the failure."""
    done: int
    """Cases that have finished or failed."""
    total: int


OnEvent = Callable[[Event], None]


def find_study(reference: str) -> Study:
    """The study that "module:attribute" refers to. Raises RunError."""
    try:
        study = resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"there is no study at {reference}: {error}") from error
    if not isinstance(study, Study):
        raise RunError(f"{reference} must be a study, but is a {type(study).__name__}")
    return study


def run_cases(
    reference: str,
    cases: Sequence[Case],
    budget: Budget,
    folder: Path,
    workers: int = 1,
    stop: StopFlag | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, str]:
    """Run those of these cases of a study that are not finished. Return the reasons of those that failed, by case.

    With one worker they run in this process. Returns early if a stop is requested: a case stops when it next reports
    progress. Raises RunError and StoreError.
    """
    claim_folder(folder, find_study(reference).name, budget)
    left = [case for case in cases if not is_finished(folder, case.name)]
    log = _Log(len(cases), len(cases) - len(left), on_event or (lambda event: None))
    stop = stop or StopFlag()
    if workers == 1:
        _run_here(left, budget, folder, stop, log)
    elif left:
        _run_in_processes(reference, left, budget, folder, min(workers, len(left)), stop, log)
    return log.failures


class _Log:
    """Counts the cases that are done, and passes on events."""

    def __init__(self, total: int, done: int, on_event: OnEvent):
        self.total, self.done, self.on_event = total, done, on_event
        self.failures: dict[str, str] = {}

    def started(self, case: str) -> None:
        self.on_event(Event("started", case, "", self.done, self.total))

    def progress(self, case: str, text: str) -> None:
        self.on_event(Event("progress", case, text, self.done, self.total))

    def done_with(self, case: str, seconds: float, failure: str) -> None:
        self.done += 1
        if failure:
            self.failures[case] = failure
        kind, text = ("failed", failure) if failure else ("finished", f"took {seconds:.1f} s")
        self.on_event(Event(kind, case, text, self.done, self.total))


def _run_here(cases: Sequence[Case], budget: Budget, folder: Path, stop: StopFlag, log: _Log) -> None:
    """Run cases in this process."""
    for case in cases:

        def report(text: str, case: Case = case) -> None:
            if stop.is_set:
                raise KeyboardInterrupt
            log.progress(case.name, text)

        if stop.is_set:
            return
        log.started(case.name)
        try:
            log.done_with(case.name, *run_case(case, budget, folder, report))
        except KeyboardInterrupt:
            if not stop.is_set:
                raise
            return


class _Worker:
    """Handle, in the parent, of a process that runs one case after another."""

    def __init__(self, reference: str, budget: Budget, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(
            target=_work, args=(reference, budget, folder, child_pipe), daemon=True
        )
        # Ctrl-C is sent to all processes of a terminal, but only the parent should act on it. A child inherits
        # ignored signals, so it ignores this one from its first moment.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.process.start()
        signal.signal(signal.SIGINT, before)
        child_pipe.close()
        self.case: str | None = None

    def begin(self, case: str) -> None:
        self.case = case
        with suppress(OSError):  # if it has died, the next read from its pipe fails
            self.pipe.send(case)

    def ask_to_stop(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)

    def end(self) -> None:
        """Kill the process; files are written atomically, so this is safe at any time."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _run_in_processes(
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

        def start() -> _Worker:
            worker = _Worker(reference, budget, folder)
            ends.callback(worker.end)
            return worker

        workers, asked_to_stop = [start() for _ in range(number)], False
        while True:
            if stop.is_set:
                waiting.clear()
            for worker in workers:
                if waiting and worker.case is None:
                    log.started(waiting[0])
                    worker.begin(waiting.pop(0))
            busy = {worker.pipe: worker for worker in workers if worker.case is not None}
            if not busy:
                return
            if stop.is_set and not asked_to_stop:
                asked_to_stop = True
                for worker in busy.values():
                    worker.ask_to_stop()
            ready = wait(list(busy), timeout=HEARTBEAT)
            for pipe, worker in busy.items():
                if pipe in ready and not _receive(worker, log):
                    workers.remove(worker)
                    if waiting:
                        workers.append(start())


def _receive(worker: _Worker, log: _Log) -> bool:
    """Receive a message from a worker that has sent one. Return False if it has died instead."""
    case = worker.case or ""
    try:
        kind, *content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        log.done_with(case, 0.0, f"its process ended with code {worker.process.exitcode}{_guess(worker)}")
        return False
    if kind == "progress":
        log.progress(case, *content)
        return True
    worker.case = None
    if kind == "done":
        log.done_with(case, *content)
    return True


def _guess(worker: _Worker) -> str:
    return ", possibly out of memory" if worker.process.exitcode == -9 else ""


def _work(reference: str, budget: Budget, folder: Path, pipe: Connection) -> None:
    """Run cases whose names are received, until None is received or the parent has ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cases = {case.name: case for case in find_study(reference).cases}

    def report(text: str) -> None:
        if pipe.poll():  # a message during a case is the request to stop
            raise KeyboardInterrupt
        pipe.send(("progress", text))

    while (name := pipe.recv()) is not None:
        try:
            pipe.send(("done", *run_case(cases[name], budget, folder, report)))
        except KeyboardInterrupt:
            pipe.send(("stopped",))
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
