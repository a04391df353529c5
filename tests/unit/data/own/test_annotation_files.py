"""Annotation files as CVAT, COCO, Roboflow, Label Studio and LabelMe write them: read as their tools mean them, or refused."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from samis.data import load_dataset
from samis.data.checks.doctor import examine
from samis.data.checks.quick_check import quick_check
from samis.data.own.annotation_shapes import draw_shapes
from samis.errors import UserError

ROOT = Path(__file__).resolve().parents[4]
HW = (40, 48)


def photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*HW, 3), dtype=np.uint8)).save(path)
    return path


def square(x: float, y: float, side: float = 5) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def content(names: list[str], *, first: int = 1, label: str = "pit", **annotation: object) -> dict:
    images = [{"id": first + n, "file_name": name, "height": HW[0], "width": HW[1]} for n, name in enumerate(names)]
    entries = [
        {"id": 90 + n, "image_id": first + n, "category_id": 1, "segmentation": [square(2 + n, 3)], "area": 25}
        | annotation
        for n in range(len(names))
    ]
    return {"images": images, "categories": [{"id": 1, "name": label}], "annotations": entries}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def png(values: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def labelme(path: Path, shapes: list[dict], *, prefix: str = "") -> None:
    photo(path.with_suffix(".jpg"))
    size = {"imageHeight": HW[0], "imageWidth": HW[1]}
    path.write_text(prefix + json.dumps({"version": "5.5.0", "shapes": shapes, **size}), encoding="utf-8")


def mask_of(root: Path, **options: object) -> np.ndarray:
    return load_dataset("labelme", root=root, split="all", **options)[0].mask


def blob() -> np.ndarray:
    """A drawn mask of 308 px in a box of 20 x 22."""
    part = np.ones((22, 20), np.uint8)
    part[:11, :12] = 0
    assert part.sum() == 308
    return part


@pytest.mark.parametrize("white", [1, 255, 7, True])
@pytest.mark.parametrize("broken_lines", [False, True])
def test_a_brushed_mask_is_read_whatever_its_white(tmp_path: Path, white: int, broken_lines: bool) -> None:
    part = blob().astype(bool) if white is True else blob() * np.uint8(white)
    text = png(part)
    text = "\r\n".join(text[i : i + 20] for i in range(0, len(text), 20)) if broken_lines else text
    entry = {"label": "pit", "shape_type": "mask", "points": [[5, 8], [24, 29]], "mask": text}
    labelme(tmp_path / "a.json", [entry])
    mask = mask_of(tmp_path)
    assert mask.sum() == 308 and (mask[8:30, 5:25] == (blob() > 0)).all()


@pytest.mark.parametrize("points", [[[5, 8], [24, 40]], [[5, 8], [24, 19]], [[30, 8], [49, 29]], [[5, 8]]])
def test_a_brushed_mask_that_does_not_fit_its_box_or_image_is_refused(tmp_path: Path, points: list) -> None:
    labelme(tmp_path / "a.json", [{"label": "pit", "shape_type": "mask", "points": points, "mask": png(blob())}])
    with pytest.raises(UserError, match=r"a\.json: shape 1, labelled 'pit'.*(painted mask|far outside).*E-DATA-SHAPE"):
        mask_of(tmp_path)


def test_labelme_byte_order_mark_and_labels_that_are_no_objects(tmp_path: Path) -> None:
    box = [[2, 3], [7, 8]]
    others = [
        {"label": name, "shape_type": "rectangle", "points": [[20, 20], [30, 30]]}
        for name in ("_background_", "__ignore__")
    ]
    labelme(tmp_path / "a.json", [*others, {"label": "pit", "shape_type": "rectangle", "points": box}], prefix="\ufeff")
    labelme(tmp_path / "b.json", others)
    dataset = load_dataset("labelme", root=tmp_path, split="all")
    assert dataset.class_names == ["pit", "clean"]
    assert [int(dataset[i].mask.sum()) for i in range(2)] == [25, 0]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 1, 0, 2]])
def test_a_rectangle_of_four_points_in_any_order(tmp_path: Path, order: list[int]) -> None:
    corners = [[2, 3], [8, 3], [8, 7], [2, 7]]
    labelme(tmp_path / "a.json", [{"label": "x", "shape_type": "rectangle", "points": [corners[i] for i in order]}])
    assert mask_of(tmp_path).sum() == 24


def test_lines_are_drawn_only_at_a_given_width(tmp_path: Path) -> None:
    for kind in ("linestrip", "line"):
        labelme(tmp_path / "a.json", [{"label": "x", "shape_type": kind, "points": [[5, 10], [25, 10]]}])
        with pytest.raises(UserError, match=r"line_width.*E-DATA-SHAPE"):
            mask_of(tmp_path)
        assert mask_of(tmp_path, line_width=4).sum() == pytest.approx(20 * 4, abs=8)
    with pytest.raises(UserError, match=r"line_width.*E-DATA-OPTION"):
        mask_of(tmp_path, line_width=float("nan"))


BAD_NUMBERS = [
    "null",
    "NaN",
    "Infinity",
    "3e7",
    "-1e9",
    "1e400",
    '"5"',
    "true",
    "[1]",
    "123456789012345678901234567890",
]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
def test_a_bad_coordinate_is_one_line_that_names_file_image_and_annotation(tmp_path: Path, bad: str) -> None:
    photo(tmp_path / "coco" / "images" / "a.png")
    text = json.dumps(content(["a.png"])).replace("[[2, 3,", f"[[2, {bad},")
    (tmp_path / "coco" / "annotations.json").write_text(text)
    with pytest.raises(UserError, match=r"annotations\.json: image a\.png: annotation 90: .*E-DATA-SHAPE") as caught:
        load_dataset("coco", root=tmp_path / "coco", split="all")
    assert "\n" not in str(caught.value)
    for kind, rest in (
        ("polygon", "[8, 3], [8, 9]"),
        ("rectangle", "[8, 3]"),
        ("circle", "[8, 3]"),
        ("line", "[8, 3]"),
    ):
        labelme(tmp_path / "lm" / "a.json", []) if (tmp_path / "lm").mkdir(exist_ok=True) is None else None
        entry = f'{{"label": "x", "shape_type": "{kind}", "points": [[2, {bad}], {rest}]}}'
        path = tmp_path / "lm" / "a.json"
        path.write_text(path.read_text().replace('"shapes": []', f'"shapes": [{entry}]'))
        with pytest.raises(UserError, match=r"a\.json: shape 1, labelled 'x': .*E-DATA-SHAPE"):
            load_dataset("labelme", root=tmp_path / "lm", split="all", line_width=3)


def test_check_data_outlives_a_coordinate_of_3e7(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    write(tmp_path / "annotations.json", content(["a.png"], segmentation=[[3e7, 1, 2, 2, float("nan"), 3]]))
    done = subprocess.run(
        [sys.executable, "evaluate/check_data.py", "configs/own.yaml", "data.name=coco", f"data.root={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "annotation 90" in done.stdout and "Traceback" not in done.stderr


RUNS = {"size": list(HW), "counts": [10, 5, HW[0] * HW[1] - 15]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": RUNS | {"counts": [10, 5, 7]}}, "run lengths of 22 px.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"counts": [10, -5, HW[0] * HW[1] - 5]}}, "integers.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"counts": [10, float("nan")]}}, "integers.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"counts": None}}, "integers.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"counts": "~~~"}}, "compressed.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"counts": "PPPPPPPPPPPPPPPPPPPPPPPP"}}, "compressed.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"size": [48, 40]}}, "run length of 40x48.*E-DATA-SHAPE"),
        ({"segmentation": RUNS | {"size": [40.5, None]}}, "size.*E-DATA-SHAPE"),
        ({"segmentation": square(1, 1)}, "instead of a polygon.*E-DATA-SHAPE"),
        ({"segmentation": "abc"}, "instead of polygons.*E-DATA-SHAPE"),
        ({"segmentation": [[*square(1, 1), 5]]}, "half a corner.*E-DATA-SHAPE"),
        ({"segmentation": [square(1, 1), [1, 2, 3, 4]]}, "fewer than three.*E-DATA-SHAPE"),
        ({"area": float("nan")}, "area.*E-DATA-COCO"),
        ({"area": "25"}, "area.*E-DATA-COCO"),
        ({"category_id": 9}, "category_id 9.*E-DATA-COCO"),
        ({"image_id": 55}, "55.*E-DATA-COCO"),
    ],
)
def test_an_annotation_that_contradicts_itself_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    photo(tmp_path / "images" / "a.png")
    write(tmp_path / "annotations.json", content(["a.png"], **change))
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("coco", root=tmp_path, split="all")
    assert "annotations.json" in str(caught.value) and "annotation 90" in str(caught.value)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_an_id_given_twice_is_refused(tmp_path: Path, key: str) -> None:
    photo(tmp_path / "images" / "a.png")
    value = content(["a.png"])
    value[key].append(dict(value[key][0]))
    write(tmp_path / "annotations.json", value)
    with pytest.raises(UserError, match=r"id 1 .*E-DATA-COCO"):
        load_dataset("coco", root=tmp_path, split="all")


def test_deeply_nested_json_and_other_text_are_one_line(tmp_path: Path) -> None:
    for text in ("[" * 100_000, "{", "[1, 2]", '{"images": 5, "categories": [], "annotations": []}', '"x"'):
        (tmp_path / "annotations.json").write_text(text)
        with pytest.raises(UserError, match=r"annotations\.json"):
            load_dataset("coco", root=tmp_path, split="all")


def test_run_lengths_plain_and_compressed_are_pycocotools() -> None:
    rng = np.random.default_rng(3)
    for share in (0.02, 0.5, 0.98, 0.0, 1.0):
        for hw in ((40, 48), (3, 700), (1, 1)):
            mask = rng.random(hw) < share
            runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            text = {"size": list(hw), "counts": runs["counts"].decode()}
            assert (draw_shapes([text], hw, where="") == mask).all()
            assert (coco_mask.decode(runs) == draw_shapes([runs], hw, where="")).all()


SPLITS_OF = {
    "cvat": ("annotations/instances_{}.json", "images/{}/{}.png", {"train": "train", "val": "val", "test": "test"}),
    "cvat, capitals": (
        "annotations/instances_{}.json",
        "images/{}/{}.png",
        {"train": "Train", "val": "Validation", "test": "Test"},
    ),
    "coco": ("annotations/instances_{}.json", "{}/{}.png", {"train": "train2017", "val": "val2017"}),
    "roboflow": ("{}/_annotations.coco.json", "{}/{}.png", {"train": "train", "val": "valid", "test": "test"}),
    "plain": ("{}.json", "images/{}/{}.png", {"train": "train", "test": "test"}),
}


@pytest.mark.parametrize("layout", SPLITS_OF)
@pytest.mark.parametrize("same_names", [True, False])
def test_layouts_of_other_tools(tmp_path: Path, layout: str, same_names: bool) -> None:
    json_at, image_at, subsets = SPLITS_OF[layout]
    for seed, (split, subset) in enumerate(subsets.items()):
        stem = "a" if same_names else f"of_{split}"
        photo(tmp_path / image_at.format(subset, stem), seed)
        write(tmp_path / json_at.format(subset), content([f"{stem}.png"], first=7))
    for split in subsets:
        dataset = load_dataset("coco", root=tmp_path, split=split)
        assert dataset.ids == [f"{split}__a" if same_names else f"of_{split}"]
        assert dataset.records[0].image_path == tmp_path / image_at.format(
            subsets[split], "a" if same_names else f"of_{split}"
        )
        assert dataset[0].mask.sum() == 25
    assert len(load_dataset("coco", root=tmp_path, split="all")) == len(subsets)


@pytest.mark.parametrize("folder", ["images/default", "images"])
def test_cvat_with_one_subset(tmp_path: Path, folder: str) -> None:
    names = [f"{n}.png" for n in range(20)]
    for n, name in enumerate(names):
        photo(tmp_path / folder / name, n)
    write(tmp_path / "annotations" / "instances_default.json", content(names))
    parts = [load_dataset("coco", root=tmp_path, split=split).ids for split in ("train", "val", "test")]
    assert sorted(key for part in parts for key in part) == sorted(str(n) for n in range(20)) and all(parts)


@pytest.mark.parametrize(
    "written",
    ["images\\a.png", ".\\images\\a.png", "images/a.png", "a.png", "C:\\Users\\me\\project\\images\\a.png",
     "/home/other/project/images/a.png", "/data/upload/3/a.png",
     "..\\..\\photos\\a.png", "/data/local-files/?d=images/a.png", "HERE"],
)  # fmt: skip
def test_names_as_other_systems_write_them(tmp_path: Path, written: str) -> None:
    path = photo(tmp_path / "images" / "a.png")
    write(tmp_path / "result.json", content([str(path) if written == "HERE" else written]))
    dataset = load_dataset("coco", root=tmp_path, split="all")
    assert dataset.records[0].image_path == path and dataset[0].mask.sum() == 25


@pytest.mark.parametrize("name", [5, None, "", "a\x00.png", "x" * 5000, "..", "/"])
def test_names_that_are_none(tmp_path: Path, name: object) -> None:
    photo(tmp_path / "images" / "a.png")
    write(tmp_path / "annotations.json", content([name]))  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"annotations\.json"):
        load_dataset("coco", root=tmp_path, split="all")


def test_a_csv_with_backslashes(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.eye(*HW, dtype=np.uint8) * 255).save(tmp_path / "masks" / "a.png")
    (tmp_path / "pairs.csv").write_text("image,mask\nimages\\a.png,masks\\a.png\n")
    dataset = load_dataset("folder", root=tmp_path / "pairs.csv", split="all")
    assert dataset.ids == ["a"] and dataset[0].mask.sum() == 40


def half_annotated(root: Path) -> Path:
    names = [f"{n}.png" for n in range(24)]
    for n, name in enumerate(names):
        photo(root / "images" / name, n)
    value = content(names)
    value["annotations"] = value["annotations"][:12]
    return write(root / "annotations.json", value)


def test_a_half_annotated_project_is_refused_with_its_number(tmp_path: Path) -> None:
    half_annotated(tmp_path)
    with pytest.raises(UserError, match=r"24 images.* 12 of them.* 12\.png.*E-DATA-UNLABELLED"):
        load_dataset("coco", root=tmp_path, split="all")
    clean = load_dataset("coco", root=tmp_path, split="all", unlabelled="clean")
    assert clean.class_names.count("clean") == 12 and not clean[20].mask.any()
    assert len(load_dataset("coco", root=tmp_path, split="all", unlabelled="skip")) == 12
    with pytest.raises(UserError, match=r"did you mean clean.*E-DATA-OPTION"):
        load_dataset("coco", root=tmp_path, split="all", unlabelled="claen")


def test_labelme_without_json_files(tmp_path: Path) -> None:
    for n in range(4):
        labelme(tmp_path / f"{n}.json", [{"label": "x", "shape_type": "rectangle", "points": [[2, 3], [7, 8]]}])
    for n in (1, 2):
        (tmp_path / f"{n}.json").unlink()
    with pytest.raises(UserError, match=r"4 images.* 2 of them.*E-DATA-UNLABELLED"):
        load_dataset("labelme", root=tmp_path, split="all")
    assert len(load_dataset("labelme", root=tmp_path, split="all", unlabelled="skip")) == 2
    for options in ({"unlabelled": "clean"}, {"unlabelled_clean": True}):
        assert load_dataset("labelme", root=tmp_path, split="all", **options).class_names.count("clean") == 2


def test_labelme_of_equal_names_in_two_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        labelme(tmp_path / split / "a.json", [{"label": "x", "shape_type": "rectangle", "points": [[2, 3], [7, 8]]}])
    assert load_dataset("labelme", root=tmp_path, split="val").ids == ["val__a"]


@pytest.mark.parametrize("names", [["Crack", "crack", "crack "], ["oil spot", "oil_spot"], ["ＰＩＴ", "pit"]])
def test_labels_that_differ_in_spelling_are_warned_about(tmp_path: Path, names: list[str]) -> None:
    value = content([f"{n}.png" for n in range(len(names))])
    value["categories"] = [{"id": 1 + n, "name": name} for n, name in enumerate(names)]
    for n, entry in enumerate(value["annotations"]):
        photo(tmp_path / "images" / f"{n}.png", n)
        entry["category_id"] = 1 + n
    write(tmp_path / "annotations.json", value)
    with pytest.warns(UserWarning, match=f"count as {len(names)} classes"):
        dataset = load_dataset("coco", root=tmp_path, split="all")
    for report in (examine(dataset), quick_check({"all": dataset})):
        assert [f.severity for f in report.findings if f.code == "class_clash"] == ["warning"]


def test_class_folders_that_differ_in_spelling_are_warned_about(tmp_path: Path) -> None:
    for kind in ("pit", "Pit", "scratch"):
        photo(tmp_path / "images" / kind / f"{kind}.png", len(kind))
        (tmp_path / "masks" / kind).mkdir(parents=True)
        Image.fromarray(np.eye(*HW, dtype=np.uint8) * 255).save(tmp_path / "masks" / kind / f"{kind}.png")
    report = quick_check({"all": load_dataset("folder", root=tmp_path, split="all")})
    assert ["'Pit' and 'pit'" in f.message for f in report.findings if f.code == "class_clash"] == [True]


def test_photos_that_the_file_does_not_list_are_counted(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "skipped.png"]
    for number, name in enumerate([*names, "new1.png", "new2.png"]):
        photo(tmp_path / "images" / name, number)
    listed = content(names)
    del listed["annotations"][-1]
    write(tmp_path / "annotations.json", listed)
    with pytest.warns(UserWarning, match="got 2 that it does not list and that are left out, the first new1.png"):
        dataset = load_dataset("coco", root=tmp_path, split="all", unlabelled="skip")
    assert len(dataset) == 3
    for check in (examine, quick_check):
        assert [f.severity for f in check({"all": dataset}).findings if f.code == "unlisted"] == ["warning"]


@pytest.mark.parametrize(("width", "px"), [(1, 21), (2.5, 63), (3, 63)])
def test_a_line_has_the_width_asked_for_halves_upwards(tmp_path: Path, width: float, px: int) -> None:
    labelme(tmp_path / "a.json", [{"label": "crack", "shape_type": "line", "points": [[5, 10], [25, 10]]}])
    dataset = load_dataset("labelme", root=tmp_path, split="all", line_width=width)
    assert int(dataset[0].mask.sum()) == px
