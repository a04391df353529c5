"""Boxes and clicks of a person: read from a CSV, placed into views, refused where they make no sense."""

import numpy as np
import pytest

from samis.core.contracts import Sample
from samis.core.geometry import Framing
from samis.errors import UserError
from samis.prompts.given import GivenPrompter, ObjectPrompt, object_prompts, read_prompts

SAMPLE = Sample("a", np.zeros((100, 200, 3), np.uint8))
RNG = np.random.default_rng(0)


def prompt(objects, framing=None):
    placements = (framing or Framing(50)).placements((100, 200))
    return GivenPrompter({"a": objects})(SAMPLE, placements, RNG)


def test_a_box_and_a_click_come_into_the_frame():
    given = prompt([ObjectPrompt((20, 40, 60, 80), ((100, 50, 0),))])
    assert given.boxes_xyxy.tolist() == [[[5, 10, 15, 20]]]
    assert given.points_xy.tolist() == [[[[25, 12.5]]]]
    assert given.point_labels.tolist() == [[[0]]]
    assert not given.sees_truth


def test_tiles_see_their_part_of_a_box_only():
    given = prompt(
        [ObjectPrompt((20, 40, 120, 80)), ObjectPrompt((150, 10, 160, 20))], Framing(50, tile_px=100, overlap=0)
    )
    assert given.present.tolist() == [[True, False], [True, True]]
    assert given.boxes_xyxy[0, 0].tolist() == [10, 20, 50, 40]
    assert given.boxes_xyxy[1, 0].tolist() == [0, 20, 10, 40]


def test_a_click_counts_in_its_tile_only():
    given = prompt([ObjectPrompt(None, ((150, 10, 1), (10, 10, 0)))], Framing(50, tile_px=100, overlap=0))
    assert given.present.tolist() == [[False], [True]]
    assert given.point_labels[1, 0].tolist() == [1, -1]


def test_a_csv_of_boxes_and_clicks(tmp_path):
    table = tmp_path / "p.csv"
    table.write_text(
        "image,object,x0,y0,x1,y1,x,y,label\na.png,1,1,2,3,4,,,\na.png,1,,,,,2,3,0\na.png,2,5,5,9,9,,,\nb.png,,,,,,7,8,\n"
    )
    assert read_prompts(table) == {
        "a.png": [ObjectPrompt((1, 2, 3, 4), ((2, 3, 0),)), ObjectPrompt((5, 5, 9, 9))],
        "b.png": [ObjectPrompt(None, ((7, 8, 1),))],
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("image,x0,y0,x1,y1\na.png,3,2,1,4\n", "line 2.*3.0,2.0,1.0,4.0.*E-PROMPT-BOX"),
        ("image,x0,y0,x1,y1\na.png,3,2,,4\n", "line 2.*E-PROMPT-TABLE"),
        ("image,x,y\na.png,,\n", "line 2.*E-PROMPT-TABLE"),
        ("image,x,y,label\na.png,1,1,0\n", "a.png.*E-PROMPT-CLICK"),
        ("image,u,v\na.png,1,1\n", "E-PROMPT-TABLE"),
        ("image,x,y\n", "E-PROMPT-TABLE"),
        ("image,object,x0,y0,x1,y1,x,y\na.png,1,1,1,2,2,,\na.png,2,,,,,5,5\n", "a.png.*E-PROMPT-TABLE"),
    ],
)
def test_mistakes_in_a_csv_have_codes(tmp_path, text, parts):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=parts):
        read_prompts(tmp_path / "p.csv")


def test_mistakes_in_numbers_have_codes():
    with pytest.raises(UserError, match=r"2 boxes.*E-PROMPT-CLICK"):
        object_prompts([(0, 0, 1, 1), (0, 0, 2, 2)], [(1, 1)])
    with pytest.raises(UserError, match=r"200x100 pixels.*E-PROMPT-OUTSIDE"):
        prompt([ObjectPrompt((20, 40, 60, 101))])
    with pytest.raises(UserError, match=r"200x100 pixels.*E-PROMPT-OUTSIDE"):
        prompt([ObjectPrompt(None, ((200, 5, 1),))])
