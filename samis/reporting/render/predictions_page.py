"""Write a folder of predictions as one page: photos by score, a threshold that recounts the verdicts, regions, a review as CSV.

Style, script and data are inside the page; the pictures are next to it and are loaded as they come into view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from samis.reporting.render.templates import load_templates, read_parts

PARTS = Path(__file__).with_name("predictions")
REGIONS_SHOWN = 200
"""Regions of a photo that the page lists, the largest first; the table ``regions.csv`` has them all."""
FULL_AXIS = 0.3
"""The axis of scores ends at 1 where any is at least this."""
OF_A_REGION = ("length_px", "width_px", "max_width_px", "mean_width_px", "skeleton_px")
"""Measures of a region that the page shows where the record has them."""


def render_predictions(
    records: Sequence[Mapping[str, Any]],
    *,
    model: str,
    rule: str,
    threshold: float,
    failed: Mapping[str, str] | None = None,
    mm_per_px: float | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Render predictions as one HTML page; every text from outside is escaped.

    Args:
        records: of the photos: ``id``, ``file_name``, ``height``, ``width``, ``score`` of the image in [0, 1], ``regions`` with
            ``area_px``, ``box_xywh``, ``score``; perhaps ``drift``, whose ``reasons`` say why it is unlike the training photos.
            The pictures ``thumbs/ID.jpg``, ``overlays/ID.jpg``, ``maps/ID.png`` and ``masks/ID.png`` lie beside the page.
        model: name of the run or adapter.
        rule: by which an image is scored.
        threshold: of the image; a photo whose score is above it is defective.
        failed: file -> why it was not predicted.
        mm_per_px: millimetres a pixel, or None.
        notes: sentences for the top of the page, such as a promise.

    Returns:
        the page.
    """
    photos = [_photo(record) for record in records]
    photos.sort(key=lambda photo: (-photo["score"], photo["name"]))
    data = {
        "photos": photos,
        "failed": [{"name": name, "why": why} for name, why in (failed or {}).items()],
        "threshold": threshold,
        "top": _top([threshold, *(photo["score"] for photo in photos)]),
        "mm_per_px": mm_per_px,
    }
    return (
        load_templates(PARTS)
        .get_template("page.html")
        .render(
            model=model,
            rule=rule,
            threshold=threshold,
            shown_threshold=f"{threshold:.3f}" if threshold == 0 or threshold >= 0.1 else f"{threshold:.3g}",
            notes=list(notes),
            count=len(photos),
            defective=sum(photo["score"] > threshold for photo in photos),
            failed=data["failed"],
            data=data,
            style=read_parts(PARTS, "page.css"),
            script=read_parts(PARTS, "page.js"),
        )
    )


def _top(values: Sequence[float]) -> float:
    """Return the end of the axis of scores: 1, or less where all are small, as shares of an area are.

    >>> _top([0.43, 0.9]), _top([0.0004, 0.12]), _top([0.0, 0.0])
    (1.0, 0.2, 1.0)
    """
    largest = max(values)
    if not 0 < largest < FULL_AXIS:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return round(math.ceil(largest / unit + 1e-9) * unit, 12)


def _photo(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page holds of one photo; keys are short, since a page may hold thousands."""
    name = quote(str(record["id"]))
    largest = sorted(enumerate(record["regions"], 1), key=lambda pair: -pair[1]["area_px"])
    return {
        "name": record["file_name"],
        "hw": [record["height"], record["width"]],
        "score": record["score"],
        "unlike": list((record.get("drift") or {}).get("reasons", [])),
        "views": {
            "regions": f"overlays/{name}.jpg",
            "map": f"maps/{name}.png",
            "mask": f"masks/{name}.png",
        },
        "thumb": f"thumbs/{name}.jpg",
        "count": len(largest),
        "regions": [
            {"number": number, "area": region["area_px"], "box": list(region["box_xywh"]), "score": region["score"]}
            | {key: region[key] for key in OF_A_REGION if region.get(key) is not None}
            for number, region in largest[:REGIONS_SHOWN]
        ],
    }
