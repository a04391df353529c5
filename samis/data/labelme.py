"""Your own data with LabelMe annotations: a JSON file beside each image, its shapes drawn into one mask.

Layouts::

    ROOT/a.jpg  ROOT/a.json                                 splits are carved, as ``folder`` carves them
    ROOT/{train,val,test}/a.jpg  .../a.json                 splits are the folders (a missing val is carved from train)

Code: the format of labelme 5 (``shapes`` with ``label``, ``points``, ``shape_type``, and ``mask`` for brushed ones).
Differs: all shapes of an image make one mask; its class is the label that covers most of it, ``clean`` without any.
Points and lines cover no surface and are refused.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samis.contracts import UserError
from samis.data.annotations import SPLITS, AnnotatedDataset, Shape, choose_split, draw_shapes, largest, read_json
from samis.data.base import CLEAN, Record, check_split, find_root
from samis.data.pairing import GIVEN_SPLITS
from samis.data.reading import IMAGE_SUFFIXES

HOW_TO_GET = "expected are ROOT/a.jpg with ROOT/a.json, or ROOT/{train,val,test}/ with such pairs"
_CIRCLE_CORNERS = 64


def load_labelme(
    *,
    root: Path | str | None = None,
    split: str = "test",
    unlabelled_clean: bool = False,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> AnnotatedDataset:
    """Load one split of images annotated in LabelMe.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or ``all``.
        unlabelled_clean: whether an image without a JSON file is clean; otherwise it is an error.
        val_share: share of each class to carve for ``val``.
        test_share: share of each class to carve for ``test``.
        seed: another seed carves other splits.

    Raises:
        UserError: if an image, a JSON file or the split is missing, or a shape cannot be drawn.
    """
    check_split(split, SPLITS, name="labelme")
    if root is None:
        raise UserError(f"data set labelme: expected root=FOLDER, got nothing; {HOW_TO_GET}")
    base = find_root(root, "your data", HOW_TO_GET)
    folders = {name: base / name for name in GIVEN_SPLITS if (base / name).is_dir()} or {"": base}
    records: list[Record] = []
    shapes: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    source: dict[str, Path] = {}
    splits: dict[str, str] = {}
    for given, folder in folders.items():
        for image in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."):
            key, annotation = image.stem, image.with_suffix(".json")
            if key in source:
                raise UserError(f"{image}: expected file names that differ, got '{key}' twice; rename one")
            if not annotation.is_file() and not unlabelled_clean:
                raise UserError(
                    f"{image}: expected its annotation {annotation.name} beside it, got none; annotate it, or set "
                    "data.options={unlabelled_clean: true} if such images show no defect"
                )
            kind = CLEAN
            source[key] = annotation if annotation.is_file() else image
            if annotation.is_file():
                kind, shapes[key], sizes[key] = _read(annotation)
            records.append(Record(key, image, None, kind))
            if given:
                splits[key] = given
    if not records:
        raise UserError(f"{base}: expected images with LabelMe annotations, got none; {HOW_TO_GET}")
    chosen = choose_split(records, splits, split, val_share=val_share, test_share=test_share, seed=seed)
    return AnnotatedDataset("labelme", split, chosen, shapes=shapes, sizes=sizes, source=source)


def _read(path: Path) -> tuple[str, list[Shape], tuple[int, int]]:
    """Return class, shapes and size of one annotation file."""
    content = read_json(path, what="a LabelMe annotation")
    try:
        hw = (int(content["imageHeight"]), int(content["imageWidth"]))
        named = [(str(entry["label"]), _shape(entry, hw, path)) for entry in content["shapes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected a LabelMe annotation with imageHeight, imageWidth and shapes, got trouble at {error}; "
            "save it again in LabelMe"
        ) from error
    areas: dict[str, float] = {}
    for label, shape in named:
        areas[label] = areas.get(label, 0.0) + float(draw_shapes([shape], hw, where=str(path)).sum())
    return largest(areas) if areas else CLEAN, [shape for _, shape in named], hw


def _shape(entry: dict[str, Any], hw: tuple[int, int], path: Path) -> Shape:
    kind = entry.get("shape_type", "polygon")
    points = [(float(x), float(y)) for x, y in entry["points"]]
    if kind == "polygon":
        return [[value for point in points for value in point]]
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]
    if kind == "circle":
        (x, y), (rim_x, rim_y) = points
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
        radius = float(np.hypot(rim_x - x, rim_y - y))
        return [np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).ravel().tolist()]
    if kind == "mask":
        return _brushed(entry, points, hw, path)
    raise UserError(
        f"{path}: expected shapes that cover a surface (polygon, rectangle, circle, mask), got a {kind} labelled "
        f"'{entry.get('label')}'; draw it as a polygon"
    )


def _brushed(entry: dict[str, Any], points: list[tuple[float, float]], hw: tuple[int, int], path: Path) -> np.ndarray:
    """Return a brushed mask, a PNG of its box, at the image's size."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(entry["mask"], validate=True)), formats=("PNG",)) as picture:
            part = np.asarray(picture.convert("1"), dtype=bool)
    except (binascii.Error, OSError) as error:
        raise UserError(f"{path}: expected a brushed mask as a PNG, got {error}; save it again in LabelMe") from error
    x, y = (round(v) for v in points[0])
    if x < 0 or y < 0 or y + part.shape[0] > hw[0] or x + part.shape[1] > hw[1]:
        raise UserError(
            f"{path}: expected a brushed mask inside the image, got one that leaves it; save it again in LabelMe"
        )
    whole = np.zeros(hw, bool)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return whole
