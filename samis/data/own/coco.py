"""Your own data with COCO annotations: polygons and run lengths become masks, categories become classes.

Layouts::

    ROOT/annotations.json  ROOT/images/...                  one file: splits are drawn, as ``folder`` draws them
    ROOT/{train,val,test}.json  ROOT/images/...             a file for each split (a missing val is drawn from train)
    ROOT/annotations/instances_{train,val,test}*.json       the same; images in images/, images/train2017/ or train2017/
    ROOT/annotations/instances_default.json                 one file, as CVAT exports; images in images/ or images/default/
    ROOT/{train,valid,test}/_annotations.coco.json          images next to it, as Roboflow exports
    ROOT/result.json  ROOT/images/...                       one file, as Label Studio exports

Names may be written with backslashes, or as absolute paths of another machine. Where files of two splits share a name, ids
begin with the split. Paper: Lin et al., Microsoft COCO, ECCV 2014 (doi 10.1007/978-3-319-10602-1_48); the format:
cocodataset.org, "Data format". Differs: all objects of an image make one mask; its class is the category that covers most
of it, ``clean`` without any.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from samis.data.base import CLEAN, Record, check_split
from samis.data.checks.findings import unlisted
from samis.data.own.annotation_shapes import Shape, ShapeError, area_of, check_shape, fits_box
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
from samis.data.own.coco_files import HOW_TO_GET, AnnotationFile, annotation_files, find_image
from samis.data.pairing import portable
from samis.data.picture_file import IMAGE_SUFFIXES
from samis.errors import UserError


def load_coco(
    *,
    root: Path | str | None = None,
    split: str = "test",
    json: str = "",
    images: str = "images",
    unlabelled: str = "error",
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> AnnotatedDataset:
    """Load one split of images with COCO annotations.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or ``all``.
        json: the one annotation file, relative to `root`; empty searches the layouts above.
        images: folder of the images, relative to `root`.
        unlabelled: what images without annotation are: ``error`` refuses them, with their number, ``clean`` counts them as
            free of defects, ``skip`` leaves them out.
        val_share: share of each class to draw for ``val``, where no file gives it.
        test_share: share of each class to draw for ``test``, where no file gives splits.
        seed: another seed draws other splits.

    Raises:
        UserError: if a file, an image or the split is missing, a file is not COCO's, or an annotation contradicts itself
            or its image: naming the file, the image and the annotation.
    """
    check_split(split, SPLITS, name="coco")
    check_unlabelled(unlabelled, name="coco")
    base = Path(root) if root is not None else None
    if base is None or not base.is_dir():
        raise UserError(f"data set coco: expected root=FOLDER, got {root}; {HOW_TO_GET}", code="E-DATA-ROOT")
    project = _Project()
    for file in annotation_files(base, json):
        places = [base / images / file.subset, base / images, base / file.subset, file.path.parent, base]
        project.items += _read(file, places, unlabelled, project.skipped)
    project.name_items()
    dataset = project.dataset("coco", split, val_share=val_share, test_share=test_share, seed=seed)
    dataset.unlisted = project.unlisted()
    for finding in unlisted(dataset):
        warnings.warn(finding.message, stacklevel=2)
    return dataset


@dataclass(frozen=True)
class _Item:
    """One image of an annotation file.

    Attributes:
        file: the annotation file.
        name: of the image, relative to one of the folders of images.
        image: the image file.
        hw: height and width in the annotation file.
        shapes: of its defects.
        areas: label -> area of its defects, px.
    """

    file: AnnotationFile
    name: str
    image: Path
    hw: tuple[int, int]
    shapes: list[Shape]
    areas: dict[str, float]

    @property
    def key(self) -> str:
        return Path(self.name).with_suffix("").as_posix().replace("/", "__")


@dataclass
class _Project(Annotations):
    """The images of all annotation files, and the names of those that are left out on purpose."""

    items: list[_Item] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)

    def unlisted(self) -> list[Path]:
        """Return the pictures in the folders of the images that no annotation file lists."""
        listed = {item.image for item in self.items}
        present = {path for folder in {path.parent for path in listed} for path in folder.iterdir()}
        return [
            path
            for path in sorted(present - listed)
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.name not in self.skipped
        ]

    def name_items(self) -> None:
        """Give each image its id, and add its record, shapes, size and split under the id."""
        counts = Counter(item.key for item in self.items)
        shared = any(count > 1 for count in counts.values())
        for item in self.items:
            key = f"{item.file.split or item.file.subset}__{item.key}" if shared else item.key
            if key in self.source:
                raise UserError(
                    f"{item.file.path}: expected file names that differ, got '{item.name}' twice; rename one",
                    code="E-DATA-SAME-NAME",
                )
            self.records.append(Record(key, item.image, None, largest(item.areas) if item.areas else CLEAN))
            self.shapes[key], self.sizes[key], self.source[key] = item.shapes, item.hw, item.file.path
            self.labels |= set(item.areas)
            if item.file.split:
                self.splits[key] = item.file.split


def _read(file: AnnotationFile, folders: list[Path], unlabelled: str, skipped: set[str]) -> list[_Item]:
    """Return the images of one annotation file; add the names of those that are listed and left out to `skipped`."""
    content = read_json(file.path, what="COCO annotations")
    try:
        names = _by_id(content["categories"], "category", file.path)
        images = _by_id(content["images"], "image", file.path)
        of_image: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
        for entry in content["annotations"]:
            if entry["image_id"] not in images:
                raise UserError(
                    f"{file.path}: annotation {entry.get('id')}: expected an image of the file, got the unknown "
                    f"image_id {entry['image_id']!r}; export it again",
                    code="E-DATA-COCO",
                )
            of_image[entry["image_id"]].append(entry)
        items = []
        bare = [str(entry["file_name"]) for number, entry in images.items() if not of_image[number]]
        if unlabelled == "error":
            refuse_unlabelled(bare, len(images), where=file.path, missing="an annotation")
        for number, entry in images.items():
            if unlabelled == "skip" and not of_image[number]:
                skipped.add(PurePosixPath(portable(str(entry["file_name"]))).name)
            else:
                items.append(_item(file, folders, entry, of_image[number], names))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file.path}: expected COCO annotations with images, categories and annotations that refer to each other, "
            f"got a wrong or missing value ({error}); export it again",
            code="E-DATA-COCO",
        ) from error
    return items


def _by_id(entries: list[dict[str, Any]], what: str, path: Path) -> dict[Any, dict[str, Any]]:
    by_id: dict[Any, dict[str, Any]] = {}
    for entry in entries:
        if by_id.setdefault(entry["id"], entry) is not entry:
            raise UserError(
                f"{path}: expected one {what} an id, got id {entry['id']!r} twice; export it again", code="E-DATA-COCO"
            )
    return by_id


def _item(
    file: AnnotationFile,
    folders: list[Path],
    entry: dict[str, Any],
    annotations: list[dict[str, Any]],
    names: dict[Any, dict[str, Any]],
) -> _Item:
    written = entry["file_name"]
    if not isinstance(written, str) or not written:
        raise UserError(
            f"{file.path}: image {entry['id']}: expected a file_name, got {written!r}; export it again",
            code="E-DATA-COCO",
        )
    image = find_image(written, folders)
    if image is None:
        raise UserError(
            f"{file.path}: expected the image {written} in {folders[1]}, got none; set data.options={{images: FOLDER}}",
            code="E-DATA-NO-IMAGE",
        )
    hw = (entry["height"], entry["width"])
    if not all(type(side) is int and side > 0 for side in hw):
        raise UserError(
            f"{file.path}: image {written}: expected height and width in px, got {hw[0]!r} and {hw[1]!r}; export it again",
            code="E-DATA-COCO",
        )
    check_size(image[1], hw, file.path)
    item = _Item(file, image[0], image[1], hw, [], {})
    for annotation in annotations:
        label, shape, area = _annotation(annotation, hw, names, where=f"{file.path}: image {written}")
        item.shapes.append(shape)
        item.areas[label] = item.areas.get(label, 0.0) + area
    return item


def _annotation(
    annotation: dict[str, Any], hw: tuple[int, int], names: dict[Any, dict[str, Any]], *, where: str
) -> tuple[str, Shape, float]:
    """Return an annotation's class, shape and area, or refuse it."""
    number = annotation.get("id")
    if not annotation.get("segmentation"):
        raise UserError(
            f"{where}: expected a segmentation for each annotation, got none in annotation {number}; "
            "a box alone cannot be scored against: export polygons or run lengths",
            code="E-DATA-NO-SHAPE",
        )
    if annotation["category_id"] not in names:
        raise UserError(
            f"{where}: annotation {number}: expected a category of the file, got category_id "
            f"{annotation['category_id']!r}; export it again",
            code="E-DATA-COCO",
        )
    try:
        shape = check_shape(annotation["segmentation"], hw)
    except ShapeError as error:
        raise UserError(
            f"{where}: annotation {number}: expected polygons or run lengths, got {error}; correct or remove it",
            code="E-DATA-SHAPE",
        ) from error
    box = annotation.get("bbox") or [0, 0, 0, 0]
    if not fits_box(shape, box):
        raise UserError(
            f"{where}: annotation {number}: expected a segmentation in its bbox [x, y, width, height], got {str(box)[:60]}, "
            "which is not a box or contains nothing of it; correct or remove it",
            code="E-DATA-BOX",
        )
    area = annotation.get("area")
    if area is None:
        area = area_of(shape)
    elif isinstance(area, bool) or not isinstance(area, int | float) or not math.isfinite(area) or area < 0:
        raise UserError(
            f"{where}: annotation {number}: expected an area in px, got {area!r}; export it again", code="E-DATA-COCO"
        )
    category = annotation["category_id"]
    label = names[category]["name"]
    if not isinstance(label, str):
        raise UserError(
            f"{where}: expected the name of category {category!r} to be a text, got {label!r}; export it again",
            code="E-DATA-COCO",
        )
    return label, shape, float(area)
