"""Masks whose values are misleading: a grey background, classes that no mask has."""

import numpy as np
import pytest
from PIL import Image

from samis.metrics.__main__ import main


@pytest.fixture
def maps(tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.pad(np.full((6, 7), 255, np.uint8), 9)).save(tmp_path / "maps" / "a.png")
    return tmp_path / "maps"


def masks(folder, background, defect):
    folder.mkdir()
    values = np.full((24, 25), background, np.uint8)
    values[9:-9, 9:-9] = defect
    Image.fromarray(values).save(folder / "a.png")
    return str(folder)


@pytest.mark.parametrize("background", [1, 9])
def test_a_grey_background_under_published(background, maps, tmp_path, capsys):
    """A perfect map scored S .05, since the field's script takes all above 0 for a defect."""
    truth = masks(tmp_path / "grey", background, 254)
    assert main([str(maps), truth, "--protocol", "published"]) == 2
    error = capsys.readouterr().err
    assert "E-METRIC-MASK-BACKGROUND" in error and f"is {background}," in error and "a.png" in error
    assert main([str(maps), truth, "--metrics", "iou"]) == 0


@pytest.mark.parametrize(
    ("values", "options"),
    [((0, 1), ["--classes", "7"]), ((0, 255), ["--ignore-value", "255"]), ((0, 2), ["--classes", "1", "3"])],
)
def test_no_mask_has_a_defect_by_the_options(values, options, maps, tmp_path, capsys):
    assert main([str(maps), masks(tmp_path / "truth", *values), *options]) == 2
    error = capsys.readouterr().err
    assert "1 masks" in error and "E-METRIC-NO-DEFECT" in error
