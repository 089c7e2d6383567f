"""What a person at a terminal sees while a run or a study goes on: stages, progress bars, and how to stop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from twosided.learn.train import Progress as Training
from twosided.papers.runner import Event
from twosided.runs.run import StopFlag


class Display:
    """Tells of stages and of training; a bar on a terminal, lines elsewhere."""

    def __init__(self, console: Console):
        self.console = console
        self.since = time.perf_counter()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("training", total=None, told="compiling")
        self.chunk_times: list[tuple[float, int]] = []

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, cursor and all."""
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, stage: str, training: Training | None, gap: float) -> None:
        if stage != "training":
            if self.console.is_terminal:
                self.bar.stop()
            self.console.print(f"{self._clock()} {stage}", highlight=False)
            return
        done, total, told = 0, None, "compiling"
        if training is not None:
            done, total = training.iteration, training.iterations
            told = _told(training, gap) if training.curve else "compiling"
            self.chunk_times.append((time.perf_counter(), done))
        if self.console.is_terminal:
            self.bar.start()
            self.bar.update(self.task, completed=done, total=total, told=told)
        else:
            share = f"{100 * done / total:3.0f}%" if total else ""
            left = self._left(done, total)
            self.console.print(f"{self._clock()} training {share} {told}{left}", highlight=False)

    def _clock(self) -> str:
        return f"{time.perf_counter() - self.since:5.1f} s"

    def _left(self, done: int, total: int | None) -> str:
        """Time left by the pace since the first chunk, which also paid for compilation."""
        if total is None or len(self.chunk_times) < 2:
            return ""
        (first, before), (last, _) = self.chunk_times[0], self.chunk_times[-1]
        return f"  {(last - first) / max(done - before, 1) * (total - done):.0f} s left"


class StudyDisplay:
    """Tells of the cases of a study: a line for each that is over; on a terminal, bars for those that run."""

    def __init__(self, console: Console):
        self.console = console
        self.since = time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[told]}"),
            console=console,
        )
        self.all: TaskID | None = None
        self.running: dict[str, TaskID] = {}
        self.kept = 0
        """Cases that were finished before."""

    def __enter__(self) -> "StudyDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, cursor and all."""
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        if self.all is None:
            self.kept = event.done
            self.all = self.bar.add_task("cases", total=event.total, completed=event.done, told="")
            if self.console.is_terminal:
                self.bar.start()
        case = escape(event.case)
        if event.kind == "started":
            self.running[event.case] = self.bar.add_task(case, total=None, told="")
        elif event.kind == "progress":
            self.bar.update(self.running[event.case], told=escape(event.text))
            if not self.console.is_terminal:
                self._print(f"       {case}: {escape(event.text)}")
        else:
            self.bar.remove_task(self.running.pop(event.case))
            left = self._left(event)
            self.bar.update(self.all, completed=event.done, told=f"{event.done}/{event.total}  {left}")
            verb = "[red]failed[/]: " if event.kind == "failed" else ""
            self._print(f"{event.done:3}/{event.total} {case} {verb}{escape(event.text)}  {left}")

    def _print(self, text: str) -> None:
        clock = time.perf_counter() - self.since
        self.console.print(f"{clock:7.1f} s {text}", highlight=False, soft_wrap=True)

    def _left(self, event: Event) -> str:
        """Time left, if the other cases take as long as those of this session did."""
        if event.done == event.total:
            return ""
        seconds = (time.perf_counter() - self.since) / (event.done - self.kept) * (event.total - event.done)
        return time_left(seconds)


def time_left(seconds: float) -> str:
    """About how long, in words."""
    return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"


@contextmanager
def stopping(console: Console) -> Iterator[StopFlag]:
    """The first Ctrl-C asks for a stop after the chunk, the second stops at once."""
    stop = StopFlag()

    def ask(number, frame):
        if stop.is_set:
            raise KeyboardInterrupt
        stop.set()
        # Plain, because the signal may come while rich is still loading what it needs for markup.
        console.print(
            "\nstopping after this part; Ctrl-C again stops at once",
            markup=False,
            emoji=False,
            highlight=False,
        )

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _told(training: Training, gap: float) -> str:
    reward = f"reward {training.curve['eval_reward'].mean():+.4f} a step"
    return reward if math.isnan(gap) else f"{reward}  optimality gap {gap:5.1f}%"
