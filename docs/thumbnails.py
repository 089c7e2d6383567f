"""Draw the thumbnails of the gallery, and the picture of the landing page, from the figures of the built site.

    python docs/thumbnails.py [EXAMPLE...]

It needs the `png` extra and a Chrome or Chromium, so the thumbnails are kept in docs/_static/thumbnails and drawn again
when an example changes its figure. Each shows the first figure of the example, or the one named in `SHOWN`.
"""

import json
import re
import sys
from pathlib import Path

import plotly.graph_objects as go
from PIL import Image

from twosided.plots.style import dark_twins

DOCS = Path(__file__).parent
THUMBNAILS = DOCS / "_static" / "thumbnails"
SHOWN = {"plot_policy": 1, "hedging_frontier": 1, "gymnasium_environment": 1}
"""Index of the figure of an example, where it is not the first."""
WIDTH, HEIGHT = 560, 350


def figures_of(page: Path) -> list[go.Figure]:
    """Return the figures that are embedded in a built page."""
    pattern = r'<div class="plotly-figure"[^>]*><script type="application/json">(.*?)</script>'
    return [go.Figure(json.loads(text)) for text in re.findall(pattern, page.read_text("utf-8"), re.DOTALL)]


def draw_landing_page(figure: go.Figure) -> None:
    """Draw the picture of the landing page, for a light and for a dark page."""
    figure.update_layout(height=460, width=940, margin={"b": 50})
    text = figure.to_json()
    for theme, twins in (("light", {}), ("dark", dark_twins())):
        for light, dark in twins.items():
            text = text.replace(light, dark)
        path = DOCS / "_static" / f"landing-{theme}.png"
        go.Figure(json.loads(text)).write_image(path, scale=2)


def main(examples: list[str]) -> None:
    """Draw the thumbnails of the examples, or of all."""
    THUMBNAILS.mkdir(parents=True, exist_ok=True)
    for script in sorted((DOCS / "examples").glob("*/*.py")):
        if examples and script.stem not in examples:
            continue
        page = DOCS / "_build" / "gallery" / script.parent.name / f"{script.stem}.html"
        figures = figures_of(page)
        if script.stem == "train_and_evaluate":
            draw_landing_page(go.Figure(figures[0]))
        figure = figures[SHOWN.get(script.stem, 0)]
        figure.update_layout(height=HEIGHT, width=WIDTH, paper_bgcolor="white", margin={"b": 40})
        path = THUMBNAILS / f"{script.stem}.png"
        figure.write_image(path, scale=1)
        Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
        print(script.stem)


if __name__ == "__main__":
    main(sys.argv[1:])
