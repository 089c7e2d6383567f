"""Rendering: the market's figure of an episode, up to the current step, as a plotly figure or as an image.

render_mode="figure"       a plotly figure, displayed by notebooks
render_mode="rgb_array"    its pixels; needs the extra `png` and a Chrome or Chromium on the machine
"""

import io
from typing import Any

import numpy as np
import plotly.graph_objects as go

from twosided.adapters.simulation import Simulation
from twosided.core.errors import Refusal
from twosided.core.evaluation import frame_of
from twosided.core.market import Market
from twosided.plots import figure_episode
from twosided.plots.style import PAPER

RENDERING: dict[str, Any] = {"render_modes": ["figure", "rgb_array"], "render_fps": 1}
"""Metadata of an environment; a figure has no frame rate, but Gymnasium asks for one."""
WIDTH = 800
"""Width of an image, in pixels; its height is the figure's."""


class Episode:
    """Steps of the first market's episode, kept where they will be rendered."""

    def __init__(self, render_mode: str | None, simulation: Simulation):
        """Raises Refusal."""
        modes = RENDERING["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise Refusal(f"render_mode must be one of {modes} or None, but got {render_mode!r}")
        self.render_mode = render_mode
        self.steps: dict[str, list[np.ndarray]] = {}
        if render_mode is not None:
            self.market: Market = simulation.scenario.market
            self.shapes = simulation.traced_shapes()
            self.begin()

    def begin(self) -> None:
        """Drop the steps of the previous episode."""
        if self.render_mode is not None:
            self.steps = {name: [] for name in self.shapes}

    def add(self, traced: dict[str, np.ndarray] | None) -> None:
        for name, values in (traced or {}).items():
            self.steps[name].append(values[0])

    def render(self) -> Any:
        """Return the figure or its image; None without a render mode."""
        if self.render_mode is None:
            return None
        columns = {
            name: np.reshape(steps, (len(steps), 1, *self.shapes[name][1:]))
            for name, steps in self.steps.items()
        }
        trace = frame_of(columns)
        section = self.market.dashboard().episode(trace)
        figure = section.figure if section is not None else figure_episode(trace)
        return figure if self.render_mode == "figure" else _pixels(figure)


def _pixels(figure: go.Figure) -> np.ndarray:
    """Pixels, height x width x RGB, from 0 to 255. Raises Refusal if no browser can draw them."""
    try:
        from PIL import Image

        # Figures are transparent; a page gives them their background.
        image = figure.update_layout(paper_bgcolor=PAPER, plot_bgcolor=PAPER).to_image("png", width=WIDTH)
    # kaleido, Pillow and the browser each report in their own way that they are missing.
    except (ImportError, ValueError, RuntimeError) as error:
        raise Refusal(
            'render_mode="rgb_array" needs the extra "png" (kaleido and Pillow) and a Chrome or Chromium on the '
            f'machine; render_mode="figure" needs neither ({" ".join(str(error).split())})'
        ) from error
    return np.array(Image.open(io.BytesIO(image)).convert("RGB"))
