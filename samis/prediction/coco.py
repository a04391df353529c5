"""COCO JSON of predicted regions: as run lengths (exact, with holes) or as polygons (outer boundaries along pixel edges).

The format is COCO's of object detection (Lin et al., ECCV 2014); each annotation also has a ``score``. Run lengths are
written in COCO's compressed form, as pycocotools reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CATEGORY = {"id": 1, "name": "defect", "supercategory": "surface"}


def coco(
    records: Iterable[Mapping[str, Any]], *, polygons: bool = False, info: Mapping[str, Any] | None = None
) -> dict:
    """Return a COCO data set of predictions.

    Args:
        records: for each image ``file_name``, ``height``, ``width`` and ``regions`` (``Region.as_dict``).
        polygons: outer boundaries instead of run lengths. An annotation's ``area`` is the region's own in both.
        info: content of ``info``.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        height, width = record["height"], record["width"]
        images.append({"id": number, "file_name": record["file_name"], "height": height, "width": width})
        for region in record["regions"]:
            shape: Any = {"size": [height, width], "counts": compressed(region["rle"])}
            if polygons:
                shape = [[coordinate for corner in region["polygon_xy"] for coordinate in corner]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CATEGORY["id"],
                    "iscrowd": 0,
                    "area": region["area_px"],
                    "bbox": list(region["box_xywh"]),
                    "score": region["score"],
                    "segmentation": shape,
                }
            )
    return {"info": dict(info or {}), "images": images, "annotations": annotations, "categories": [CATEGORY]}


def compressed(lengths: list[int]) -> str:
    """Return run lengths in COCO's compressed form.

    From the fourth on, each length is written as its difference to the last but one. A number is cut into groups of five
    bits, lowest first; a sixth bit says that another group follows, and 48 is added to make each a printable character.

    >>> compressed([5, 2, 5])
    '525'
    """
    text = []
    for place, length in enumerate(lengths):
        rest = length - lengths[place - 2] if place > 2 else length
        while True:
            group, rest = rest & 31, rest >> 5
            # The last group's fifth bit is the sign, so what is left must agree with it.
            last = rest == (-1 if group & 16 else 0)
            text.append(chr((group if last else group | 32) + 48))
            if last:
                break
    return "".join(text)
