"""What a person at a terminal sees while a run goes on: stages, a progress bar, and how to stop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from twosided.learn.train import Progress as Training
from twosided.runs import Stop


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


@contextmanager
def stopping(console: Console) -> Iterator[Stop]:
    """The first Ctrl-C asks for a stop after the chunk, the second stops at once."""
    stop = Stop()

    def ask(number, frame):
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        console.print("\nstopping after this part; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _told(training: Training, gap: float) -> str:
    reward = f"reward {training.curve['reward'].mean():+.4f} a step"
    return reward if math.isnan(gap) else f"{reward}  optimality gap {gap:5.1f}%"
