"""Checks of figures, shared by tests."""

import json
import re

from twosided.plots.style import dark_twins


def named(figure, name):
    """Return the traces with a name."""
    return [trace for trace in figure.data if trace.name == name]


def names(figure):
    """Return the names of all traces that have one."""
    return [trace.name for trace in figure.data if trace.name]


def titles(figure):
    """Return all texts of panels and lines."""
    return [note.text for note in figure.layout.annotations]


def lines_at(figure, axis):
    """Return the positions of straight lines across an axis, in order."""
    return sorted(
        shape[f"{axis}0"] for shape in figure.layout.shapes if shape[f"{axis}0"] == shape[f"{axis}1"]
    )


def check_colors(figure):
    """Check that every colour has a counterpart on dark pages, but for the transparent background."""
    text = figure.to_json().lower()
    colors = set(re.findall(r"#[0-9a-f]{6}\b", text)) | set(re.findall(r"rgba\([0-9, ]+,(?=[0-9.]+\))", text))
    assert colors - {"rgba(0,0,0,"} <= set(dark_twins())
    assert len(colors) > 3


def check_json(figure):
    """Check that a figure is JSON without NaN and infinities, which browsers reject, and states its height."""

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads(figure.to_json(), parse_constant=refuse)
    assert content["layout"]["height"] > 50 and not content["layout"]["showlegend"]
