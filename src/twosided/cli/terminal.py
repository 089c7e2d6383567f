"""Terminal output while a run or a study is in progress: stages, progress bars, and stopping."""

import math
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from twosided.learn.train import Progress as Training
from twosided.papers.runner import Event
from twosided.runs.run import StopFlag


class Display:
    """Progress of a run: a bar on a terminal, lines elsewhere."""

    def __init__(self, console: Console):
        self.console = console
        self.started = time.perf_counter()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("training", total=None, status="compiling")
        self.chunk_times: list[tuple[float, int]] = []

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal, cursor included."""
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, stage: str, training: Training | None, gap: float) -> None:
        if stage != "training":
            if self.console.is_terminal:
                self.bar.stop()
            self.console.print(f"{self._clock()} {stage}", highlight=False)
            return
        done, total, status = 0, None, "compiling"
        if training is not None:
            done, total = training.iteration, training.iterations
            status = _status(training, gap) if training.curve else "compiling"
            self.chunk_times.append((time.perf_counter(), done))
        if self.console.is_terminal:
            self.bar.start()
            self.bar.update(self.task, completed=done, total=total, status=status)
        else:
            share = f"{100 * done / total:3.0f}%" if total else ""
            left = self._left(done, total)
            self.console.print(f"{self._clock()} training {share} {status}{left}", highlight=False)

    def _clock(self) -> str:
        return f"{time.perf_counter() - self.started:5.1f} s"

    def _left(self, done: int, total: int | None) -> str:
        """Time left at the pace since the first chunk, whose time includes compilation."""
        if total is None or len(self.chunk_times) < 2:
            return ""
        (first, before), (last, _) = self.chunk_times[0], self.chunk_times[-1]
        return f"  {(last - first) / max(done - before, 1) * (total - done):.0f} s left"


class StudyDisplay:
    """Progress of a study: a line for each finished case and, on a terminal, a bar for each running one."""

    def __init__(self, console: Console):
        self.console = console
        self.started = time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[status]}"),
            console=console,
        )
        self.all: TaskID | None = None
        self.running: dict[str, TaskID] = {}
        self.kept = 0
        """Cases that had finished before."""

    def __enter__(self) -> "StudyDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal, cursor included."""
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        if self.all is None:
            self.kept = event.done
            self.all = self.bar.add_task("cases", total=event.total, completed=event.done, status="")
            if self.console.is_terminal:
                self.bar.start()
        case = escape(event.case)
        if event.kind == "started":
            self.running[event.case] = self.bar.add_task(case, total=None, status="")
        elif event.kind == "progress":
            self.bar.update(self.running[event.case], status=escape(event.text))
            if not self.console.is_terminal:
                self._print(f"       {case}: {escape(event.text)}")
        else:
            self.bar.remove_task(self.running.pop(event.case))
            left = self._left(event)
            self.bar.update(self.all, completed=event.done, status=f"{event.done}/{event.total}  {left}")
            verb = "[red]failed[/]: " if event.kind == "failed" else ""
            self._print(f"{event.done:3}/{event.total} {case} {verb}{escape(event.text)}  {left}")

    def _print(self, text: str) -> None:
        clock = time.perf_counter() - self.started
        self.console.print(f"{clock:7.1f} s {text}", highlight=False, soft_wrap=True)

    def _left(self, event: Event) -> str:
        """Time left, if the remaining cases take as long as those of this session."""
        if event.done == event.total:
            return ""
        seconds = (time.perf_counter() - self.started) / (event.done - self.kept) * (event.total - event.done)
        return time_left(seconds)


def time_left(seconds: float) -> str:
    """Return a time in words."""
    return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"


@contextmanager
def stopping(console: Console) -> Generator[StopFlag]:
    """Handle Ctrl-C: the first sets the flag, to stop after the current chunk; the second stops at once."""
    stop = StopFlag()

    def ask(number, frame):
        if stop.is_set:
            raise KeyboardInterrupt
        stop.set()
        # Without markup, because the signal may arrive while rich is still loading it.
        console.print(
            "\nstopping after this chunk; press Ctrl-C again to stop at once",
            markup=False,
            emoji=False,
            highlight=False,
        )

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _status(training: Training, gap: float) -> str:
    reward = f"reward {training.curve['eval_reward'].mean():+.4f} per step"
    return reward if math.isnan(gap) else f"{reward}  optimality gap {gap:5.1f}%"
