"""A folder of predictions that a later run can continue: pictures and a record for each image, then COCO and CSV of all.

::

    predictions.json        settings, model, threshold, counts, files that could not be read, each image's verdict and regions
    masks/ID.png            0 and 255        maps/ID.png  8-bit map        overlays/ID.jpg  regions drawn and numbered
    thumbs/ID.jpg           the overlay, small, for the page that the job writes (index.html)
    images.csv              one line an image: verdict, score, area (columns: samis.prediction.image_table.COLUMNS)
    regions.csv             one line a region (columns: samis.prediction.regions.COLUMNS)
    coco_rle.json           the regions as run lengths      coco_polygons.json  as polygons
    records/ID.json         size, source and regions of an image; written last, so that an image with a record is done

Each file is written under a temporary name and renamed. CSV and COCO are made from all records when a run ends.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from samis.core.cells import text_cells
from samis.core.files import replacing, write_atomic
from samis.decision.image_rules import image_scores
from samis.drift.fingerprint import Fingerprint
from samis.errors import UserError
from samis.prediction.coco import coco
from samis.prediction.image_table import image_csv, image_lines, image_records, verdict_counts
from samis.prediction.regions import COLUMNS, Region, table_rows

COLOUR = (255, 110, 0)
NUMBERED = 200
"""Largest number of regions whose numbers are written into an overlay."""
THUMB_PX = 320
"""Longest side of the small pictures of the page."""
_KINDS = {"masks": ".png", "maps": ".png", "overlays": ".jpg", "thumbs": ".jpg"}


class PredictionFolder:
    """A folder of predictions.

    Args:
        out: the folder; made if missing.
        settings: what decides the outcome: model, threshold, frame, prompts ... Predictions of different settings never
            share a folder.
        mm_per_px: millimetres a pixel, for the table; or None.
        redo: delete the predictions that the folder holds.
        image_rule: key of ``samis.decision.image_rules.IMAGE_RULES``, for the verdicts.
        image_threshold: a score above it is defective.

    Raises:
        UserError: the folder holds predictions of other settings, or other files.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        *,
        mm_per_px: float | None = None,
        redo: bool = False,
        image_rule: str = "max",
        image_threshold: float = 0.5,
    ) -> None:
        self.image_rule, self.image_threshold = image_rule, image_threshold
        self.out, self.settings, self.mm_per_px = Path(out), json.loads(json.dumps(settings)), mm_per_px
        path = self.out / "predictions.json"
        if redo:
            self._delete_records()
        elif path.exists():
            before = _read(path).get("settings", {})
            if before != self.settings:
                keys = [key for key in self.settings if before.get(key) != self.settings[key]] or list(before)
                raise UserError(
                    f"{path}: holds predictions of other settings: {keys[0]}={before.get(keys[0])!r} there and "
                    f"{self.settings.get(keys[0])!r} now; name another --out, or replace them with --redo",
                    code="E-PREDICT-SETTINGS",
                )
        elif self.out.exists() and any(self.out.iterdir()):
            raise UserError(
                f"{self.out}: holds files that are no predictions; name another --out", code="E-PREDICT-OTHER-FILES"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        self._write_summary({})

    def done(self, image_id: str, file: Path) -> bool:
        """Return whether an image has been predicted from its file as it is now."""
        path = self._record(image_id)
        try:
            record = _read(path) if path.exists() else {}
            complete = "image_scores" in record and self._picture("thumbs", image_id).exists()  # older ones lack them
            return record.get("source") == _source(file) and complete
        except OSError:  # the photo is gone, or may not be read: reading it raises the error
            return False

    def add(
        self,
        image_id: str,
        file: Path,
        image: np.ndarray,
        values: np.ndarray,
        mask: np.ndarray,
        regions: list[Region],
        scores: Mapping[str, float] | None = None,
        drift: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what was predicted of one image.

        Args:
            image_id: names its files; may hold ``/``.
            file: where the image came from.
            image: (H, W, 3) uint8 RGB.
            values: (H, W) float map in [0, 1].
            mask: (H, W) bool.
            regions: of the mask.
            scores: of the image by each rule; None computes them.
            drift: comparison with the training photos; None where there is none.
        """
        drawn = overlay(image, mask, regions)
        pictures = {
            "masks": mask.astype(np.uint8) * 255, "maps": _as_bytes(values), "overlays": drawn, "thumbs": _small(drawn),
        }  # fmt: skip
        for kind, picture in pictures.items():
            _write_picture(self._picture(kind, image_id), picture)
        record = {
            "id": image_id, "file_name": image_id + file.suffix, "source": _source(file),
            "height": mask.shape[0], "width": mask.shape[1], "area_share": round(float(mask.mean()), 8),
            "image_scores": dict(scores or image_scores(values, mask)), "regions": [region.as_dict() for region in regions],
        }  # fmt: skip
        record |= {"drift": dict(drift)} if drift else {}
        path = self._record(image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(record, allow_nan=False) + "\n")

    def finish(self, notes: Mapping[str, Any], fingerprint: Fingerprint | None = None) -> dict[str, Any]:
        """Write CSV, COCO and ``predictions.json`` of every image in the folder; return their counts.

        Images whose photo is no longer there are left out, and listed as ``gone``: what was predicted of them may be of
        an older photo, and nobody can check it. Those that failed now are left out, too: they have changed since they were
        predicted. Their pictures and records stay.

        Args:
            notes: what ``predictions.json`` holds besides settings and counts, such as the files that failed.
            fingerprint: of the photos that the model was tuned on.
        """
        every = [_read(path) for path in sorted((self.out / "records").rglob("*.json"))]
        gone = [r["source"]["path"] for r in every if not os.path.exists(r["source"]["path"])]
        failed = {
            str(Path(path).resolve()) for path in notes.get("failed", {})
        }  # a record is of the photo before it changed
        left_out = {*gone, *failed}
        records = [r for r in every if r["source"]["path"] not in left_out and "image_scores" in r]
        info = {"description": "predicted defect regions", "settings": self.settings}
        for name, polygons in (("coco_rle.json", False), ("coco_polygons.json", True)):
            write_atomic(self.out / name, json.dumps(coco(records, polygons=polygons, info=info)) + "\n")
        rows = [row for r in records for row in table_rows(r["file_name"], r["regions"], mm_per_px=self.mm_per_px)]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in text_cells(row).items()} for row in rows
        )
        write_atomic(self.out / "regions.csv", table.getvalue())
        lines = image_lines(records, notes.get("failed", {}), rule=self.image_rule, threshold=self.image_threshold)
        write_atomic(self.out / "images.csv", image_csv(lines))
        verdicts = {"rule": self.image_rule, "threshold": self.image_threshold, **verdict_counts(lines)}
        counts = {"images": len(records), "defective": sum(bool(r["regions"]) for r in records), "regions": len(rows)}
        summary: dict[str, Any] = {**counts, "verdicts": verdicts, "gone": gone}
        compared = [r["drift"] for r in records if "drift" in r]
        summary["drift"] = None if fingerprint is None else fingerprint.summary(compared)
        of_images = image_records(records, lines, mm_per_px=self.mm_per_px)
        self._write_summary({**summary, "mm_per_px": self.mm_per_px, **notes, "image_list": of_images})
        return summary

    def _write_summary(self, notes: Mapping[str, Any]) -> None:
        content = {"settings": self.settings, **notes}
        write_atomic(
            self.out / "predictions.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )

    def _delete_records(self) -> None:
        """Remove the files that records name, then the records; nothing else is touched."""
        for path in (self.out / "records").rglob("*.json"):
            image_id = path.relative_to(self.out / "records").as_posix().removesuffix(".json")
            for kind in _KINDS:
                self._picture(kind, image_id).unlink(missing_ok=True)
            path.unlink()

    def _record(self, image_id: str) -> Path:
        return self.out / "records" / f"{image_id}.json"

    def _picture(self, kind: str, image_id: str) -> Path:
        return self.out / kind / f"{image_id}{_KINDS[kind]}"


def overlay(image: np.ndarray, mask: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with its regions tinted, outlined and numbered as in the table.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        regions: of the mask, in the table's order.
    """
    drawn = image.copy()
    drawn[mask] = (0.65 * image[mask] + 0.35 * np.array(COLOUR)).astype(np.uint8)
    thick = max(1, round(max(mask.shape) / 800))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, COLOUR, thick)
    for number, region in enumerate(regions[:NUMBERED], 1):
        x, y, w, _ = region.box_xywh
        place = (min(x + w, mask.shape[1] - 12 * thick), max(y, 12 * thick))
        for colour, width in (((0, 0, 0), 3 * thick), ((255, 255, 255), thick)):
            cv2.putText(drawn, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, colour, width, cv2.LINE_AA)
    return drawn


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Return a map as bytes, made row by row: whole copies of a large photo's map would multiply its memory."""
    pixels = np.empty(values.shape, np.uint8)
    for number, row in enumerate(values):
        pixels[number] = row.clip(0, 1) * 255 + 0.5
    return pixels


def _small(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture (H, W, 3) uint8 for the page; it is for the eye only."""
    image = Image.fromarray(picture)
    image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _source(file: Path) -> dict[str, Any]:
    """Return what distinguishes a file from another of its name: place, size and time."""
    state = file.stat()
    return {"path": str(file.resolve()), "bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a file of predictions ({error}); remove it or use --redo",
            code="E-PREDICT-RECORD",
        ) from error
    return content if isinstance(content, dict) else {}


def _write_picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 90} if path.suffix == ".jpg" else {}
    with replacing(path, durable=False) as temporary:
        Image.fromarray(values).save(temporary, format="JPEG" if options else "PNG", **options)
