"""Your own data with LabelMe annotations: a JSON file next to each image, its shapes drawn into one mask.

Layouts::

    ROOT/a.jpg  ROOT/a.json                                 splits are drawn, as ``folder`` draws them
    ROOT/{train,val,test}/a.jpg  .../a.json                 splits are the folders (a missing val is drawn from train)

Code: the format of labelme 5 (``shapes`` with ``label``, ``points``, ``shape_type``, and ``mask`` for painted ones).
Differs: all shapes of an image make one mask; its class is the label that covers most of it, ``clean`` without any.
The labels ``_background_`` and ``__ignore__`` mark no objects. Points cover no surface and are refused;
so are lines, unless a width is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samis.data.base import CLEAN, Record, check_split, find_root
from samis.data.own.annotation_shapes import NO_OBJECTS, Shape, ShapeError, draw_shapes, labelme_shape
from samis.data.own.annotations import (
    SPLITS,
    AnnotatedDataset,
    Annotations,
    check_size,
    check_unlabelled,
    largest,
    read_json,
    refuse_unlabelled,
)
from samis.data.pairing import GIVEN_SPLITS
from samis.data.picture_file import IMAGE_SUFFIXES
from samis.errors import UserError

HOW_TO_GET = "expected are ROOT/a.jpg with ROOT/a.json, or ROOT/{train,val,test}/ with such pairs"


def load_labelme(
    *,
    root: Path | str | None = None,
    split: str = "test",
    unlabelled: str = "error",
    unlabelled_clean: bool = False,
    line_width: float = 0,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> AnnotatedDataset:
    """Load one split of images annotated in LabelMe.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or ``all``.
        unlabelled: what images without a JSON file are: ``error`` refuses them, with their number, ``clean`` counts them as
            free of defects, ``skip`` leaves them out.
        unlabelled_clean: older spelling of ``unlabelled: clean``.
        line_width: px at which lines and line strips are drawn; 0 refuses them.
        val_share: share of each class to draw for ``val``.
        test_share: share of each class to draw for ``test``.
        seed: another seed draws other splits.

    Raises:
        UserError: if an image, a JSON file or the split is missing, or a shape cannot be drawn.
    """
    check_split(split, SPLITS, name="labelme")
    check_unlabelled(unlabelled, name="labelme")
    if isinstance(line_width, bool) or not isinstance(line_width, int | float) or not 0 <= line_width <= 1000:
        raise UserError(
            f"data set labelme: expected line_width from 0 to 1000 px, got {line_width!r}", code="E-DATA-OPTION"
        )
    if root is None:
        raise UserError(f"data set labelme: expected root=FOLDER, got nothing; {HOW_TO_GET}", code="E-DATA-ROOT")
    base = find_root(root, "your data", HOW_TO_GET)
    pictures = _pictures(base)
    if unlabelled == "error" and not unlabelled_clean:
        bare = [str(image) for _, image in pictures if not image.with_suffix(".json").is_file()]
        refuse_unlabelled(bare, len(pictures), where=base, missing="a JSON file")
    project = _read_all(pictures, line_width, skip_unlabelled=unlabelled == "skip")
    if not project.records:
        raise UserError(
            f"{base}: expected images with LabelMe annotations, got none; {HOW_TO_GET}", code="E-DATA-EMPTY"
        )
    return project.dataset("labelme", split, val_share=val_share, test_share=test_share, seed=seed)


def _pictures(base: Path) -> list[tuple[str, Path]]:
    """Return (split, image) of each picture; the split is "" where there are no split folders."""
    folders = {name: base / name for name in GIVEN_SPLITS if (base / name).is_dir()} or {"": base}
    return [
        (split, path)
        for split, folder in folders.items()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."
    ]


def _read_all(pictures: Sequence[tuple[str, Path]], line_width: float, *, skip_unlabelled: bool) -> Annotations:
    """Read the annotations of all pictures; where two splits share a name, ids begin with the split."""
    project = Annotations()
    repeated = len({image.stem for _, image in pictures}) < len(pictures)
    in_splits = len({split for split, _ in pictures}) > 1
    for split, image in pictures:
        key = f"{split}__{image.stem}" if repeated and in_splits else image.stem
        if key in project.source:
            raise UserError(
                f"{image}: expected file names that differ, got '{image.stem}' twice; rename one",
                code="E-DATA-SAME-NAME",
            )
        annotation, class_name = image.with_suffix(".json"), CLEAN
        labelled = annotation.is_file()
        if not labelled and skip_unlabelled:
            continue
        project.source[key] = annotation if labelled else image
        if labelled:
            areas, project.shapes[key], project.sizes[key] = _read(annotation, image, line_width)
            class_name = largest(areas) if areas else CLEAN
            project.labels |= set(areas)
        project.records.append(Record(key, image, None, class_name))
        if split:
            project.splits[key] = split
    return project


def _read(path: Path, image: Path, line_width: float) -> tuple[dict[str, float], list[Shape], tuple[int, int]]:
    """Return the areas by label, the shapes and the size of one annotation file, after its numbers were checked."""
    content = read_json(path, what="a LabelMe annotation")
    areas: dict[str, float] = {}
    shapes: list[Shape] = []
    try:
        hw = (content["imageHeight"], content["imageWidth"])
        if not all(type(side) is int for side in hw):
            raise ValueError(f"imageHeight {hw[0]!r}, imageWidth {hw[1]!r}")
        check_size(image, hw, path)
        for number, entry in enumerate(content["shapes"], 1):
            label = entry["label"]
            if not isinstance(label, str) or not label.strip():
                raise ValueError(f"shape {number}, whose label is {label!r}, not a name")
            if label.strip() in NO_OBJECTS:
                continue
            where = f"{path}: shape {number}, labelled '{label}'"
            shape = _checked(entry, hw, line_width, where)
            shapes.append(shape)
            areas[label] = areas.get(label, 0.0) + float(draw_shapes([shape], hw, where=where).sum())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: expected a LabelMe annotation with imageHeight, imageWidth and shapes, got a wrong or missing "
            f"value ({error}); save it again in LabelMe",
            code="E-DATA-LABELME",
        ) from error
    return areas, shapes, hw


def _checked(entry: dict[str, Any], hw: tuple[int, int], line_width: float, where: str) -> Shape:
    try:
        return labelme_shape(entry, hw, line_width=line_width)
    except ShapeError as error:
        raise UserError(
            f"{where}: expected a shape that covers a surface of the image, got {error}", code="E-DATA-SHAPE"
        ) from error
