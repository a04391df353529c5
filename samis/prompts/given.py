"""Boxes and clicks that a person gave, in file pixels: on the command line, in a notebook or in a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from samis.core.contracts import Placement, Prompt, Sample
from samis.core.geometry import boxes_to_frame, points_to_frame
from samis.errors import UserError

KIND = "given"
COLUMNS = ("image", "object", "x0", "y0", "x1", "y1", "x", "y", "label")


@dataclass(frozen=True)
class ObjectPrompt:
    """The prompt for one object, in file pixels.

    Attributes:
        box_xyxy: a box around it, or None.
        points: clicks (x, y, label), label 1 on the object and 0 off it.
    """

    box_xyxy: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, int], ...] = ()


def object_prompts(boxes: Iterable[Sequence[float]], points: Iterable[Sequence[float]]) -> list[ObjectPrompt]:
    """Return the prompts that boxes and clicks make: each box is an object; clicks belong to the only box, or are one object.

    Args:
        boxes: (x0, y0, x1, y1) each.
        points: (x, y) or (x, y, label) each.

    Raises:
        UserError: a box or point of another length, a box whose corners are swapped, or clicks together with several boxes.

    >>> object_prompts([(1, 2, 5, 6)], [(3, 3)])
    [ObjectPrompt(box_xyxy=(1.0, 2.0, 5.0, 6.0), points=((3.0, 3.0, 1),))]
    """
    checked_boxes = [_box(box) for box in boxes]
    clicks = tuple(_point(point) for point in points)
    if not clicks:
        return [ObjectPrompt(box) for box in checked_boxes]
    if len(checked_boxes) > 1:
        raise UserError(
            f"expected clicks with at most one box, got {len(checked_boxes)} boxes; use a CSV of prompts",
            code="E-PROMPT-CLICK",
        )
    return [_with_object(ObjectPrompt(checked_boxes[0] if checked_boxes else None, clicks), "the clicks")]


def read_prompts(table: Path) -> dict[str, list[ObjectPrompt]]:
    """Read a CSV of prompts: image -> prompts of its objects.

    Columns: ``image``, then ``x0,y0,x1,y1`` (a box) or ``x,y`` and ``label`` (a click; 1 on the object, the default, 0 off
    it), or both sets with one left empty. Rows of one ``object`` are one prompt; without it each box is an object and all
    clicks of an image are one.

    Args:
        table: the CSV file, UTF-8.

    Raises:
        UserError: the file cannot be read, or a line is not what it should be.
    """
    boxes: dict[tuple[str, str], tuple[float, float, float, float]] = {}
    clicks: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for number, row in _rows(table):
        where = f"{table}, line {number}"
        has_box, has_point = (any(row.get(name) for name in names) for names in (COLUMNS[2:6], COLUMNS[6:8]))
        if not row.get("image") or has_box == has_point:
            raise UserError(
                f"{where}: expected an image, and a box (x0,y0,x1,y1) or a click (x,y), got {row}",
                code="E-PROMPT-TABLE",
            )
        try:
            if has_box:
                key = (row["image"], row.get("object") or f"line {number}")
                if key in boxes:
                    raise UserError(
                        f"object {key[1]} of {key[0]} has a box already; give the other another name",
                        code="E-PROMPT-TABLE",
                    )
                boxes[key] = _box([float(row[name]) for name in COLUMNS[2:6]])
            else:
                point = [float(row["x"]), float(row["y"]), float(row.get("label") or 1)]
                clicks.setdefault((row["image"], row.get("object") or ""), []).append(_point(point))
        except UserError as error:
            raise UserError(f"{where}: {error.message}", code=error.code) from error
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{where}: expected numbers in the columns of the box or click, got {error}", code="E-PROMPT-TABLE"
            ) from error
    prompts: dict[str, list[ObjectPrompt]] = {}
    for key in dict.fromkeys([*boxes, *clicks]):
        prompt = _with_object(
            ObjectPrompt(boxes.get(key), tuple(clicks.get(key, ()))), f"{table}: object {key[1]} of {key[0]}"
        )
        prompts.setdefault(key[0], []).append(prompt)
    for image, each in prompts.items():
        if len({prompt.box_xyxy is None for prompt in each}) > 1:
            raise UserError(
                f"{table}: {image}: expected a box for each of its objects or for none, got some; add boxes",
                code="E-PROMPT-TABLE",
            )
    if not prompts:
        raise UserError(
            f"{table}: expected prompts, got an empty table; its columns are {', '.join(COLUMNS)}",
            code="E-PROMPT-TABLE",
        )
    return prompts


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            unknown = set(reader.fieldnames or ()) - set(COLUMNS)
            if unknown or "image" not in (reader.fieldnames or ()):
                raise UserError(
                    f"{table}: expected columns out of {', '.join(COLUMNS)}, got {reader.fieldnames}",
                    code="E-PROMPT-TABLE",
                )
            return [(number, {k: (v or "").strip() for k, v in row.items()}) for number, row in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise UserError(
            f"{table}: expected a CSV of prompts (UTF-8), but {error}; check it", code="E-PROMPT-TABLE"
        ) from error


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) != 4 or not np.isfinite(values).all() or values[0] >= values[2] or values[1] >= values[3]:
        raise UserError(
            f"expected a box x0,y0,x1,y1 with x0 < x1 and y0 < y1, got {','.join(map(str, values))}",
            code="E-PROMPT-BOX",
        )
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1


def _point(values: Sequence[float]) -> tuple[float, float, int]:
    label = values[2] if len(values) == 3 else 1
    if len(values) not in (2, 3) or not np.isfinite(values).all() or label not in (0, 1):
        raise UserError(
            f"expected a click x,y or x,y,label with label 1 (on it) or 0, got {','.join(map(str, values))}",
            code="E-PROMPT-CLICK",
        )
    return float(values[0]), float(values[1]), int(label)


def _with_object(prompt: ObjectPrompt, name: str) -> ObjectPrompt:
    if prompt.box_xyxy is None and not any(label for *_, label in prompt.points):
        raise UserError(
            f"{name}: expected at least one click on the object (label 1), got only clicks off it",
            code="E-PROMPT-CLICK",
        )
    return prompt


class GivenPrompter:
    """Prompt with the boxes and clicks that a person gave for each image.

    Args:
        prompts: sample id -> prompts of its objects, all of them with a box or none of them.
    """

    kind = KIND
    sees_truth = False

    def __init__(self, prompts: Mapping[str, list[ObjectPrompt]]) -> None:
        self.prompts = prompts

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with one row for each object; `present` only in the views that show a part of it.

        Raises:
            UserError: a box or click outside the image.
        """
        objects = self.prompts[sample.id]
        height, width = placements[0].file_hw
        for each in objects:
            _check_inside(each, width, height, str(sample.image_path or sample.id))
        most = max(1, *(len(each.points) for each in objects))
        shape = (len(placements), len(objects))
        boxes = np.zeros((*shape, 4), np.float32)
        points, labels = np.zeros((*shape, most, 2), np.float32), np.full((*shape, most), -1, np.int64)
        present = np.zeros(shape, bool)
        for v, placement in enumerate(placements):
            x0, y0, x1, y1 = placement.crop_xyxy
            for p, each in enumerate(objects):
                if each.box_xyxy is not None:
                    box = np.clip(each.box_xyxy, (x0, y0, x0, y0), (x1, y1, x1, y1))
                    boxes[v, p] = boxes_to_frame(box, placement)
                    present[v, p] = (box[2:] > box[:2]).all()
                shown = [click for click in each.points if x0 <= click[0] < x1 and y0 <= click[1] < y1]
                for n, (x, y, label) in enumerate(shown):
                    points[v, p, n], labels[v, p, n] = points_to_frame(np.array([x, y]), placement), label
                if each.box_xyxy is None:
                    present[v, p] = any(label for *_, label in shown)
        has_box, has_points = objects[0].box_xyxy is not None, any(each.points for each in objects)
        return Prompt(
            KIND,
            points_xy=torch.from_numpy(points) if has_points else None,
            point_labels=torch.from_numpy(labels) if has_points else None,
            boxes_xyxy=torch.from_numpy(boxes) if has_box else None,
            present=torch.from_numpy(present),
        )


def _check_inside(each: ObjectPrompt, width: int, height: int, where: str) -> None:
    x0, y0, x1, y1 = each.box_xyxy or (0, 0, 1, 1)
    outside = x0 < 0 or y0 < 0 or x1 > width or y1 > height
    if outside or any(not (0 <= x < width and 0 <= y < height) for x, y, _ in each.points):
        raise UserError(
            f"{where}: expected boxes and clicks inside its {width}x{height} pixels, got {each}",
            code="E-PROMPT-OUTSIDE",
        )
