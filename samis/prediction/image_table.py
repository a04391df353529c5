"""The table of images, ``images.csv``: one line an image with its verdict, and the same in ``predictions.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from samis.core.cells import text_cells
from samis.decision.image_rules import DEFECTIVE, IMAGE_RULES, NOT_PREDICTED, OK, verdict_of
from samis.prediction.regions import in_mm

COLUMNS = ("image", "verdict", "score", "regions", "area_px", "area_share", *IMAGE_RULES, "reason")
"""Columns of the table of images."""
_NOT_MEASURES = ("polygon_xy", "rle")


def image_lines(
    records: Sequence[Mapping[str, Any]], failed: Mapping[str, str], *, rule: str, threshold: float
) -> list[dict[str, Any]]:
    """Return the lines of the table of images, the highest score first, then what could not be predicted.

    Args:
        records: of the images, as ``PredictionFolder.add`` writes them.
        failed: file -> reason of photos without a prediction.
        rule: key of ``IMAGE_RULES`` that gives the score.
        threshold: a score above it is defective.
    """
    lines = []
    for record in records:
        scores, regions = record["image_scores"], record["regions"]
        line = {
            "image": record["file_name"], "verdict": verdict_of(scores[rule], threshold), "score": scores[rule],
            "regions": len(regions), "area_px": sum(region["area_px"] for region in regions),
            "area_share": record["area_share"], **scores,
        }  # fmt: skip
        lines.append(line)
    lines.sort(key=lambda line: (-line["score"], line["image"]))
    return lines + [
        {"image": path, "verdict": NOT_PREDICTED, "reason": reason} for path, reason in sorted(failed.items())
    ]


def image_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as CSV; a cell without a value is empty."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        cells = text_cells({key: " ".join(value.split()) if key == "reason" else value for key, value in line.items()})
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in cells.items()})
    return table.getvalue()


def verdict_counts(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many images have each verdict."""
    return {verdict: sum(line["verdict"] == verdict for line in lines) for verdict in (DEFECTIVE, OK, NOT_PREDICTED)}


def image_records(
    records: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]], *, mm_per_px: float | None = None
) -> list[dict[str, Any]]:
    """Return what ``predictions.json`` holds of each predicted image: verdict, score, size, and its regions' measures.

    Args:
        records: of the images.
        lines: from ``image_lines``.
        mm_per_px: scale of the photos, mm, for measures in millimetres; None leaves them out.
    """
    known = {record["file_name"]: record for record in records}
    entries = []
    for line in lines:
        if line["verdict"] == NOT_PREDICTED:
            continue
        record = known[line["image"]]
        regions = [
            {key: value for key, value in region.items() if key not in _NOT_MEASURES} | in_mm(region, mm_per_px)
            for region in record["regions"]
        ]
        entries.append(
            {
                "file_name": line["image"], "id": record["id"], "verdict": line["verdict"], "score": line["score"],
                "scores": record["image_scores"], "height": record["height"], "width": record["width"],
                "area_share": record["area_share"], "regions": regions, "drift": record.get("drift"),
            }
        )  # fmt: skip
    return entries
