"""COCO annotations that contradict themselves, and names that two systems write in two ways."""

import json

import numpy as np
import pytest
from PIL import Image

from samis.data import load_dataset
from samis.errors import UserError


def write(folder, *, on_disk="a.png", name="a.png", label="pit", **annotation):
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(folder / "images" / on_disk)
    entry = {"id": 7, "image_id": 1, "category_id": 1, "segmentation": [[10, 10, 20, 10, 20, 20]]} | annotation
    content = {
        "images": [{"id": 1, "file_name": name, "height": 40, "width": 48}],
        "categories": [{"id": 1, "name": label}],
        "annotations": [entry],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return load_dataset("coco", root=folder, split="all")


@pytest.mark.parametrize(
    "box", [[30, 30, 5, 5], [10, 30, 9, 9], [float("nan"), 1, 2, 3], [1, 2, 3], [1, 1, -4, 4], "10"]
)
def test_a_box_beside_its_segmentation(box, tmp_path):
    with pytest.raises(UserError, match=r"annotations\.json: image a\.png: annotation 7: .*E-DATA-BOX"):
        write(tmp_path, bbox=box)


@pytest.mark.parametrize("box", [[10, 10, 10, 10], [9.5, 9.5, 8, 8], [0, 0, 48, 40], [0, 0, 0, 0], [], None])
def test_boxes_as_tools_write_them(box, tmp_path):
    assert write(tmp_path, bbox=box)[0].mask.any()


@pytest.mark.parametrize(("on_disk", "name"), [("\u00e4.png", "a\u0308.png"), ("a\u0308.png", "\u00e4.png")])
def test_an_accent_of_one_sign_or_of_two(on_disk, name, tmp_path):
    assert write(tmp_path, on_disk=on_disk, name=name)[0].image.shape == (40, 48, 3)


def test_a_class_without_a_name(tmp_path):
    with pytest.raises(UserError, match=r"category 1 .*None.*E-DATA-COCO"):
        write(tmp_path, label=None)


@pytest.mark.parametrize("label", [None, 3, "", " "])
def test_a_labelme_shape_without_a_name(label, tmp_path):
    """It was read as a class named None."""
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(tmp_path / "a.png")
    shape = {"label": label, "points": [[10, 10], [20, 10], [20, 20]], "shape_type": "polygon"}
    (tmp_path / "a.json").write_text(json.dumps({"imageHeight": 40, "imageWidth": 48, "shapes": [shape]}))
    with pytest.raises(UserError, match=r"a\.json: .*shape 1, .*E-DATA-LABELME"):
        load_dataset("labelme", root=tmp_path, split="all")
