"""Your own data with COCO annotations: polygons and run lengths become masks, categories become classes.

Layouts::

    ROOT/annotations.json  ROOT/images/...                  one file: splits are carved, as ``folder`` carves them
    ROOT/{train,val,test}.json  ROOT/images/...             a file for each split (a missing val is carved from train)
    ROOT/annotations/instances_{train,val,test}*.json       the same, as COCO itself lays it out
    ROOT/{train,valid,test}/_annotations.coco.json          images beside, as Roboflow exports

Paper: Lin et al., Microsoft COCO, ECCV 2014 (doi 10.1007/978-3-319-10602-1_48); the format: cocodataset.org, "Data format".
Differs: all objects of an image make one mask; its class is the category that covers most of it, ``clean`` without any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samis.contracts import UserError
from samis.data.annotations import SPLITS, AnnotatedDataset, Shape, choose_split, largest, read_json
from samis.data.base import CLEAN, Record, check_split
from samis.data.pairing import GIVEN_SPLITS

HOW_TO_GET = (
    "expected are ROOT/annotations.json, ROOT/{train,val,test}.json, ROOT/annotations/instances_{train,val,test}*.json or "
    "ROOT/{train,valid,test}/_annotations.coco.json"
)


def load_coco(
    *,
    root: Path | str | None = None,
    split: str = "test",
    json: str = "",
    images: str = "images",
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> AnnotatedDataset:
    """Load one split of images with COCO annotations.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or ``all``.
        json: the one annotation file, seen from `root`; empty looks for the layouts above.
        images: folder of the images, seen from `root`.
        val_share: share of each class to carve for ``val``, where no file gives it.
        test_share: share of each class to carve for ``test``, where no file gives splits.
        seed: another seed carves other splits.

    Raises:
        UserError: if a file, an image or the split is missing, or a file is not COCO's.
    """
    check_split(split, SPLITS, name="coco")
    base = Path(root) if root is not None else None
    if base is None or not base.is_dir():
        raise UserError(f"data set coco: expected root=FOLDER, got {root}; {HOW_TO_GET}")
    found = _Found()
    for given, path in _files(base, json):
        found.add(path, given, [base / images, path.parent, base])
    records = choose_split(found.records, found.splits, split, val_share=val_share, test_share=test_share, seed=seed)
    return AnnotatedDataset("coco", split, records, shapes=found.shapes, sizes=found.sizes, source=found.source)


def _files(base: Path, json: str) -> list[tuple[str, Path]]:
    """Return annotation files with their split; an empty split is to be carved."""
    if json:
        return [("", base / json)]
    for pattern in ("{}.json", "annotations/{}.json", "annotations/instances_{}*.json", "{}/_annotations.coco.json"):
        found = []
        for name in GIVEN_SPLITS:
            for spelt in (name, "valid") if name == "val" else (name,):
                found += [(name, path) for path in sorted(base.glob(pattern.format(spelt)))]
        if found:
            return found
    single = sorted(base.glob("*.json"))
    if len(single) != 1:
        raise UserError(f"{base}: expected one JSON file or one a split, got {len(single)}; {HOW_TO_GET}")
    return [("", single[0])]


class _Found:
    """Records, shapes and splits gathered from the files."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.shapes: dict[str, list[Shape]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.source: dict[str, Path] = {}
        self.splits: dict[str, str] = {}

    def add(self, path: Path, split: str, folders: list[Path]) -> None:
        """Take in one annotation file."""
        content = read_json(path, what="COCO annotations")
        try:
            names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            of_image: dict[Any, list[dict[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
            for entry in content["annotations"]:
                of_image[entry["image_id"]].append(entry)
            for entry in content["images"]:
                self._image(path, split, folders, entry, of_image[entry["id"]], names)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected COCO annotations with images, categories and annotations that refer to each other, "
                f"got trouble at {error}; export it again"
            ) from error

    def _image(
        self,
        path: Path,
        split: str,
        folders: list[Path],
        entry: dict[str, Any],
        annotations: list[dict[str, Any]],
        names: dict[Any, str],
    ) -> None:
        key = Path(entry["file_name"]).with_suffix("").as_posix().replace("/", "__")
        if key in self.source:
            raise UserError(f"{path}: expected file names that differ, got '{key}' twice; rename one")
        image = next((f / entry["file_name"] for f in folders if (f / entry["file_name"]).is_file()), None)
        if image is None:
            raise UserError(
                f"{path}: expected the image {entry['file_name']} in {folders[0]}, got none; set data.options={{images: FOLDER}}"
            )
        areas: dict[str, float] = {}
        for annotation in annotations:
            if not annotation.get("segmentation"):
                raise UserError(
                    f"{path}: expected a segmentation for each annotation, got none in annotation {annotation.get('id')}; "
                    "boxes alone are no truth to score against: export polygons or run lengths"
                )
            name = names[annotation["category_id"]]
            areas[name] = areas.get(name, 0.0) + float(annotation.get("area", 0))
        self.records.append(Record(key, image, None, largest(areas) if areas else CLEAN))
        self.shapes[key] = [annotation["segmentation"] for annotation in annotations]
        self.sizes[key] = (int(entry["height"]), int(entry["width"]))
        self.source[key] = path
        if split:
            self.splits[key] = split
