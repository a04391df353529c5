"""Truth kept as shapes in a JSON file instead of as a picture: what COCO and LabelMe annotations share.

Code: pycocotools 2.0 (BSD) draws polygons and run lengths, so that a mask here is the mask every COCO tool sees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samis.contracts import Sample, UserError
from samis.data.base import Record, RecordDataset
from samis.data.folder import divide

Shape = dict[str, Any] | list[list[float]] | np.ndarray
"""A COCO run length, polygons of one object ([x0, y0, x1, y1, ...] each), or an (H, W) bool mask."""
SPLITS = ("train", "val", "test", "trainval", "all")


class AnnotatedDataset(RecordDataset):
    """A split whose masks are drawn from shapes.

    Args:
        name, split, records: as ``RecordDataset``'s; records have no mask file.
        shapes: id -> shapes of its defects; none of them: a clean image.
        sizes: id -> (height, width) that the annotations were made at, where they say.
        source: id -> the JSON file, for errors.
    """

    def __init__(
        self,
        name: str,
        split: str,
        records: Iterable[Record],
        *,
        shapes: Mapping[str, list[Shape]],
        sizes: Mapping[str, tuple[int, int]],
        source: Mapping[str, Path],
    ) -> None:
        super().__init__(name, split, records)
        self.shapes, self.sizes, self.source = shapes, sizes, source

    def __getitem__(self, index: int) -> Sample:
        """Read the image and draw its mask.

        Raises:
            UserError: as ``RecordDataset``'s, or if a shape cannot be drawn, or the image has not the annotations' size.
        """
        sample = super().__getitem__(index)
        hw = (sample.image.shape[0], sample.image.shape[1])
        wanted, source = self.sizes.get(sample.id, hw), self.source[sample.id]
        if wanted != hw:
            raise UserError(
                f"{sample.image_path}: expected {wanted[1]}x{wanted[0]} (width x height) as {source} says, got "
                f"{hw[1]}x{hw[0]}; annotate the image as it is now"
            )
        mask = draw_shapes(self.shapes.get(sample.id, []), hw, where=f"{source}: image {sample.id}")
        return replace(sample, mask=mask, mask_path=source)

    def fingerprint(self) -> str:
        """Return a sha256 over images, ids, classes and shapes."""
        if self._fingerprint is None:
            digest = hashlib.sha256(super().fingerprint().encode())
            for key in sorted(self.ids):
                digest.update(key.encode() + json.dumps(self.shapes.get(key, []), default=_plain).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def draw_shapes(shapes: Iterable[Shape], hw: tuple[int, int], *, where: str) -> np.ndarray:
    """Return the union of the shapes, (H, W) bool.

    Args:
        shapes: what to draw.
        hw: height and width.
        where: file and image, for the error.

    Raises:
        UserError: a shape is no polygon, or a run length of another size.

    >>> draw_shapes([[[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]], (4, 4), where="a.json").sum()
    np.int64(4)
    """
    from pycocotools import mask as coco  # a few users need it; the others need not wait for it

    union = np.zeros(hw, bool)
    for shape in shapes:
        if isinstance(shape, np.ndarray):
            union |= shape
            continue
        try:
            if isinstance(shape, dict):
                size = tuple(shape["size"])
                if size != hw:
                    raise ValueError(f"a run length of {size[1]}x{size[0]} on an image of {hw[1]}x{hw[0]}")
                runs = coco.frPyObjects(shape, *hw) if isinstance(shape["counts"], list) else shape
            else:
                if not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
                    raise ValueError("a polygon of fewer than three corners")
                runs = coco.merge(coco.frPyObjects(shape, *hw))
            union |= coco.decode(runs).astype(bool)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{where}: expected polygons or run lengths, got {told}; mend or remove it") from error
    return union


def choose_split(
    records: list[Record],
    given: Mapping[str, str],
    split: str,
    *,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> list[Record]:
    """Return a split's records: the given splits, or carved ones as ``folder`` carves them; `split` is one of ``SPLITS``."""
    if split == "all":
        return records
    part = divide(records, given, val_share=val_share, test_share=test_share, seed=seed)
    wanted = ("train", "val") if split == "trainval" else (split,)
    return [record for record in records if part[record.id] in wanted]


def read_json(path: Path, *, what: str) -> Any:
    """Return a JSON file's content.

    Raises:
        UserError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: expected {what}, but {error.strerror}; check data.root") from error
    except ValueError as error:
        raise UserError(f"{path}: expected {what}, but it is no JSON ({error}); export it again") from error


def largest(areas: Mapping[str, float]) -> str:
    """Return the name with the largest area; the first of equals."""
    best: Callable[[str], float] = areas.__getitem__
    return max(areas, key=best)


def _plain(value: Any) -> Any:
    """Make what JSON does not know plain: arrays as packed bits, bytes as text."""
    return np.packbits(value).tobytes().hex() if isinstance(value, np.ndarray) else value.decode()
