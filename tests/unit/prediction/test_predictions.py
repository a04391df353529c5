"""What a folder of predictions holds of file names that a spreadsheet would run."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from samis.prediction.predictions import PredictionFolder
from samis.prediction.regions import find_regions


@pytest.mark.parametrize("name", ["=1+1", "+a", "-b", "@c"])
def test_no_cell_of_the_regions_is_a_formula(tmp_path, name):
    image, mask = np.full((24, 32, 3), 90, np.uint8), np.zeros((24, 32), bool)
    mask[4:10, 5:20] = True
    Image.fromarray(image).save(tmp_path / f"{name}.png")
    folder = PredictionFolder(tmp_path / "out", {"model": "m"})
    values = mask.astype(np.float32)
    folder.add(name, tmp_path / f"{name}.png", image, values, mask, find_regions(mask, values))
    folder.finish({})
    with (tmp_path / "out" / "regions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert f"'{name}.png" in row.values()
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())
