"""Figures of tables draw the numbers that they were given, and leave blank what is none."""

import numpy as np
import pytest

from twosided.plots.tables import figure_arrows, figure_best, figure_table

VALUES = np.array([[-1.0, -0.5, -0.75], [np.nan, -2.0, np.nan], [np.nan] * 3])


def test_a_table_frames_the_best_of_each_row():
    figure = figure_table(VALUES, ["≤ <b>", "0", "1"], ["down", "stay", "up"], "Q")
    heat = figure.data[0]
    assert [list(row) for row in heat.text] == [["−1.000", "−0.500", "−0.750"], ["", "−2.000", ""], [""] * 3]
    np.testing.assert_array_equal(heat.z[0], [0.0, 1.0, 0.5])
    assert np.isnan(np.asarray(heat.z[2], float)).all()
    boxes = [(shape.x0 + shape.x1, shape.y0 + shape.y1) for shape in figure.layout.shapes]
    np.testing.assert_allclose(boxes, [(2, 0), (2, 2)])
    assert heat.y[0] == "≤ &lt;b&gt;"
    # Else a name that looks like a number would be one, and its row elsewhere.
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "category"


def test_all_that_tie_are_framed():
    figure = figure_table(
        np.array([[-0.65, -0.65 + 1e-15, -0.65], [1.0, 2.0, 2.0]]), ["0", "1"], ["a", "b", "c"]
    )
    boxes = [((shape.x0 + shape.x1) / 2, (shape.y0 + shape.y1) / 2) for shape in figure.layout.shapes]
    np.testing.assert_allclose(boxes, [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)])
    np.testing.assert_allclose(figure.data[0].z[0], 0.0, atol=1e-12)


def test_arrows_are_as_large_as_actions_are_likely():
    table = np.array([[1.0, 0.0, 0.0], [0.01, 0.49, 0.5]])
    down, stay, up = figure_arrows(table, (-1.0, 0.0, 1.0), ["−1", "0"]).data
    assert (list(down.x), list(stay.x), list(up.x)) == (["−1"], ["0"], ["0"])
    assert (down.marker.symbol, stay.marker.symbol, up.marker.symbol) == ("arrow-down", "line-ew", "arrow-up")
    np.testing.assert_allclose(down.marker.size, [24.0])
    assert up.marker.size[0] == pytest.approx(15.0)


def test_a_map_shows_the_best_and_leaves_blank_what_is_no_market():
    values = np.array([[[1.0, 2.0], [3.0, 2.0]], [[np.nan, np.nan], [0.0, 0.5]]])
    figure = figure_best(values, [0.1, 0.2], [0.3, 0.4], ["h = 1", "h = 2"], "λ_u", "λ_i")
    heat = figure.data[0]
    np.testing.assert_array_equal(heat.z, [[1, 0], [np.nan, 1]])
    assert heat.text[0][0] == "h = 1: 1.0000<br>h = 2: 2.0000"
    assert list(heat.colorbar.ticktext) == ["h = 1", "h = 2"]
