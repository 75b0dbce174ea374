"""Polygons as OpenCV draws them, on small pictures by hand."""

from __future__ import annotations

import numpy as np
import pytest

from samtok_eval.datasets.drawn_polygons import drawn


def picture(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


@pytest.mark.parametrize(
    ("points", "rows"),
    [
        pytest.param([[1, 1], [3, 1], [3, 2], [1, 2]], ("     ", " ### ", " ### ", "     "), id="ends belong to it"),
        pytest.param([[0, 0], [4, 2], [0, 3]], ("##   ", "#### ", "#####", "###  "), id="lines have eight neighbours"),
        pytest.param([[2.9, 1.9], [2.9, 1.1]], ("     ", "  #  ", "     ", "     "), id="corners are cut off"),
        pytest.param([[0, 3], [4, 3]], ("     ", "     ", "     ", "#####"), id="a line is its pixels"),
        pytest.param([[-2, 1], [1, 1], [1, 9], [-2, 9]], ("     ", "##   ", "##   ", "##   "), id="beyond the picture"),
        pytest.param([[0, 0], [4, 0], [4, 3], [1, 3], [1, 1], [3, 1], [3, 2], [0, 2]],
                     ("#####", "#####", "#####", " ####"), id="edges belong to it inside as well"),
    ],
)  # fmt: skip
def test_a_polygon_is_its_outline_and_what_lies_between_every_second_edge(points, rows):
    assert drawn(points, 4, 5).tolist() == picture(*rows).tolist()


@pytest.mark.parametrize("points", [[], [[1]], [[1, 2, 3]], [["1", 2]], [[1e12, 0]], [[float("nan"), 0]]])
def test_what_is_no_polygon_of_the_picture_is_refused(points):
    with pytest.raises(ValueError, match="polygon"):
        drawn(points, 4, 5)
