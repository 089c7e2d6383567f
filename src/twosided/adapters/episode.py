"""What `render` shows: the figure of the episode so far, as plotly draws it or as an image.

render_mode="figure"       a plotly figure, which a notebook shows by itself
render_mode="rgb_array"    its pixels; needs the extra `png` and a Chrome or Chromium on the machine
"""

import io
from typing import Any

import numpy as np
import plotly.graph_objects as go

from twosided.adapters.simulation import Simulation
from twosided.core.errors import Refusal
from twosided.core.evaluation import frame_of
from twosided.plots import figure_episode
from twosided.plots.style import PAPER

RENDERING = {"render_modes": ["figure", "rgb_array"], "render_fps": 1}
"""What an environment's metadata say of it; the frames of a second are no matter to a figure."""
WIDTH = 800
"""Of an image, in pixels; its height is the figure's."""


class Episode:
    """The steps of the first market's episode, kept if they will be drawn."""

    def __init__(self, render_mode: str | None, simulation: Simulation):
        """Raises Refusal."""
        modes = RENDERING["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise Refusal(f"render_mode must be one of {modes} or None, but got {render_mode!r}")
        self.render_mode = render_mode
        self.steps: dict[str, list[np.ndarray]] = {}
        if render_mode is not None:
            self.shapes = simulation.shapes_shown()
            self.begin()

    def begin(self) -> None:
        """Forget the episode before."""
        if self.render_mode is not None:
            self.steps = {name: [] for name in self.shapes}

    def add(self, shown: dict[str, np.ndarray] | None) -> None:
        for name, values in (shown or {}).items():
            self.steps[name].append(values[0])

    def render(self) -> Any:
        """The figure or its image; None if the environment was not made to render."""
        if self.render_mode is None:
            return None
        columns = {
            name: np.reshape(steps, (len(steps), 1, *self.shapes[name][1:]))
            for name, steps in self.steps.items()
        }
        figure = figure_episode(frame_of(columns))
        return figure if self.render_mode == "figure" else _pixels(figure)


def _pixels(figure: go.Figure) -> np.ndarray:
    """Height x width x RGB, from 0 to 255. Raises Refusal."""
    try:
        from PIL import Image

        # A page has the background that a figure leaves to it.
        image = figure.update_layout(paper_bgcolor=PAPER, plot_bgcolor=PAPER).to_image("png", width=WIDTH)
    # Each of the three parts says in its own way that it is missing.
    except (ImportError, ValueError, RuntimeError) as error:
        raise Refusal(
            'render_mode="rgb_array" needs the extra "png" (kaleido and Pillow) and a Chrome or Chromium on the '
            f'machine; render_mode="figure" needs neither ({" ".join(str(error).split())})'
        ) from error
    return np.array(Image.open(io.BytesIO(image)).convert("RGB"))
