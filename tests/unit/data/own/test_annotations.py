"""COCO and LabelMe annotations against pycocotools' own reader and hand-counted masks."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from samis.data import load_dataset
from samis.data.checks.doctor import examine
from samis.errors import UserError

SQUARE = [2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]  # x 2..6, y 3..8: 4 x 5 pixels


def photo(path, hw=(12, 16), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (*hw, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def coco_content(names, start=1):
    runs = {"size": [12, 16], "counts": [0, 12, 180]}  # the first column
    images = [{"id": start + n, "file_name": name, "height": 12, "width": 16} for n, name in enumerate(names)]
    return {
        "images": images,
        "categories": [{"id": 1, "name": "scratch"}, {"id": 2, "name": "pit"}],
        "annotations": [
            {"id": 1, "image_id": start, "category_id": 1, "segmentation": [list(SQUARE)], "area": 20, "iscrowd": 0},
            {"id": 2, "image_id": start, "category_id": 2, "segmentation": runs, "area": 12, "iscrowd": 1},
        ],
    }


def test_coco_masks_are_pycocotools(tmp_path):
    for n, name in enumerate(("a.png", "sub/b.png")):
        photo(tmp_path / "images" / name, seed=n)
    (tmp_path / "annotations.json").write_text(json.dumps(coco_content(["a.png", "sub/b.png"])))
    dataset = load_dataset("coco", root=tmp_path, split="all", unlabelled="clean")
    assert dataset.ids == ["a", "sub__b"] and dataset.class_names == ["scratch", "clean"]
    theirs = COCO(str(tmp_path / "annotations.json"))
    expected = np.max([theirs.annToMask(entry) for entry in theirs.imgToAnns[1]], axis=0)
    assert (dataset[0].mask == expected.astype(bool)).all() and dataset[0].mask.sum() == 20 + 12
    assert dataset[1].mask is not None and not dataset[1].mask.any()
    assert examine(dataset).exit_code in (0, 1)


@pytest.mark.parametrize("layout", ["{}.json", "annotations/instances_{}2026.json", "{}/_annotations.coco.json"])
def test_coco_split_files(tmp_path, layout):
    for n, split in enumerate(("train", "test")):
        photo(tmp_path / "images" / f"{split}.png", seed=n)
        path = tmp_path / layout.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coco_content([f"{split}.png"], start=n + 1)))
    assert load_dataset("coco", root=tmp_path, split="test").ids == ["test"]
    assert load_dataset("coco", root=tmp_path, split="trainval").ids == ["train"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c["annotations"][0].update(segmentation=[]), "E-DATA-NO-SHAPE"),
        (lambda c: c["annotations"][0].update(image_id=77), "77.*E-DATA-COCO"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png.*E-DATA-NO-IMAGE"),
        (lambda c: c.pop("categories"), "categories.*E-DATA-COCO"),
        (lambda c: c["images"][0].update(width=17), "17x12 .*16x12.*E-DATA-IMAGE-SIZE"),
        (lambda c: c["annotations"][0].update(segmentation=[[1.0, 2.0]]), "E-DATA-SHAPE"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[5, 5]), "5x5.*E-DATA-SHAPE"),
    ],
)
def test_coco_faults_take_one_line(tmp_path, change, parts):
    photo(tmp_path / "images" / "a.png")
    content = coco_content(["a.png"])
    change(content)
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=parts) as caught:
        load_dataset("coco", root=tmp_path, split="all")[0]
    assert "\n" not in str(caught.value) and "annotations.json" in str(caught.value)


def test_a_changed_shape_changes_the_fingerprint(tmp_path):
    photo(tmp_path / "images" / "a.png")
    content = coco_content(["a.png"])
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    first = load_dataset("coco", root=tmp_path, split="all").fingerprint()
    content["annotations"][0]["segmentation"][0][0] = 1.0
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert load_dataset("coco", root=tmp_path, split="all").fingerprint() != first


def labelme(path, shapes, hw=(12, 16)):
    path.write_text(
        json.dumps({"version": "5.5.0", "imagePath": "x", "imageHeight": hw[0], "imageWidth": hw[1], "shapes": shapes})
    )


def shape(kind, points, label="pit", **more):
    return {"label": label, "shape_type": kind, "points": points, **more}


def test_labelme_shapes(tmp_path):
    brush = np.zeros((3, 2), np.uint8)
    brush[1] = 255
    file = io.BytesIO()
    Image.fromarray(brush).save(file, format="PNG")
    drawn = {
        "polygon": (shape("polygon", np.reshape(SQUARE, (-1, 2)).tolist()), 20),
        "rectangle": (shape("rectangle", [[6, 8], [2, 3]]), 20),
        "mask": (shape("mask", [[5, 4], [6, 6]], mask=base64.b64encode(file.getvalue()).decode()), 2),
        "none": (None, 0),
    }
    for n, (name, (entry, _)) in enumerate(drawn.items()):
        photo(tmp_path / f"{name}.jpg", seed=n)
        labelme(tmp_path / f"{name}.json", [entry] if entry else [])
    dataset = load_dataset("labelme", root=tmp_path, split="all")
    areas = {key: int(dataset[i].mask.sum()) for i, key in enumerate(dataset.ids)}
    assert areas == {name: area for name, (_, area) in drawn.items()}
    assert dict(zip(dataset.ids, dataset.class_names, strict=True))["none"] == "clean"
    brushed = dataset[dataset.ids.index("mask")].mask
    assert brushed[5, 5:7].all()


def test_labelme_circle_covers_its_disc(tmp_path):
    photo(tmp_path / "a.png", hw=(60, 60))
    labelme(tmp_path / "a.json", [shape("circle", [[30, 30], [30, 50]])], hw=(60, 60))
    area = load_dataset("labelme", root=tmp_path, split="all")[0].mask.sum()
    assert area == pytest.approx(np.pi * 400, rel=0.02)


def test_labelme_splits_and_largest_class(tmp_path):
    for n, split in enumerate(("train", "val", "test")):
        photo(tmp_path / split / f"{split}.png", seed=n)
        big, small = shape("rectangle", [[0, 0], [9, 9]], "crack"), shape("rectangle", [[12, 0], [14, 2]])
        labelme(tmp_path / split / f"{split}.json", [small, big])
    for split in ("train", "val", "test"):
        dataset = load_dataset("labelme", root=tmp_path, split=split)
        assert dataset.ids == [split] and dataset.class_names == ["crack"]


@pytest.mark.parametrize(
    ("shapes", "parts"),
    [
        ([shape("line", [[0, 0], [3, 3]])], "line.*E-DATA-SHAPE"),
        ([shape("mask", [[0, 0], [3, 3]], mask="%%%")], "painted mask.*E-DATA-SHAPE"),
        ([{"label": "x", "shape_type": "polygon"}], "points.*E-DATA-SHAPE"),
        (None, "unlabelled: clean.*E-DATA-UNLABELLED"),
    ],
)
def test_labelme_faults_take_one_line(tmp_path, shapes, parts):
    photo(tmp_path / "a.png")
    if shapes is not None:
        labelme(tmp_path / "a.json", shapes)
    with pytest.raises(UserError, match=parts) as caught:
        load_dataset("labelme", root=tmp_path, split="all")
    assert "\n" not in str(caught.value) and "a." in str(caught.value)
