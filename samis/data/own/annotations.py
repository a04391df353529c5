"""Truth kept as shapes in a JSON file instead of as a picture: what COCO and LabelMe annotations have in common.

``samis.data.own.annotation_shapes`` checks and draws the shapes.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.contracts import Sample
from samis.data.base import Record, RecordDataset
from samis.data.checks.findings import similar_names
from samis.data.own.annotation_shapes import Shape, draw_shapes
from samis.data.own.folder import divide
from samis.data.picture_file import FileError, max_bytes
from samis.data.reading import picture_hw
from samis.errors import UserError, did_you_mean

SPLITS = ("train", "val", "test", "trainval", "all")
UNLABELLED = ("error", "clean", "skip")
"""What may be done with images without annotation: refuse them, take them as free of defects, or leave them out."""


class AnnotatedDataset(RecordDataset):
    """A split whose masks are drawn from shapes.

    Args:
        name: as of ``RecordDataset``.
        split: as of ``RecordDataset``.
        records: as of ``RecordDataset``; they have no mask file.
        shapes: id -> shapes of its defects; none of them: a clean image.
        sizes: id -> (height, width) that the annotations were made at, where the file states it.
        source: id -> the JSON file, for errors.
        labels: all names of defects in the annotations, those that name no image's class too.

    Attributes:
        unlisted: pictures in the folders of the images that no annotation file lists; they are left out.
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
        labels: Iterable[str] = (),
    ) -> None:
        super().__init__(name, split, records)
        self.shapes, self.sizes, self.source = shapes, sizes, source
        self.labels = sorted(set(labels))
        self.unlisted: list[Path] = []
        for text in similar_names(self.labels):
            warnings.warn(text, stacklevel=2)

    def __getitem__(self, index: int) -> Sample:
        """Read the image and draw its mask.

        Raises:
            UserError: as ``RecordDataset``'s, or if a shape cannot be drawn, or the image has not the annotations' size.
        """
        sample = super().__getitem__(index)
        hw = (sample.image.shape[0], sample.image.shape[1])
        annotated_hw, source = self.sizes.get(sample.id, hw), self.source[sample.id]
        if annotated_hw != hw:
            raise UserError(_other_size(sample.image_path, annotated_hw, source, hw), code="E-DATA-IMAGE-SIZE")
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


@dataclass
class Annotations:
    """What the annotation files of a data set hold, by image id.

    Attributes:
        records: the images.
        shapes: id -> shapes of its defects.
        sizes: id -> (height, width) that the annotations were made at.
        source: id -> the JSON file, or the image where it has none.
        splits: id -> split, where the files give splits.
        labels: all names of defects.
    """

    records: list[Record] = field(default_factory=list)
    shapes: dict[str, list[Shape]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    source: dict[str, Path] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)

    def dataset(self, name: str, split: str, *, val_share: float, test_share: float, seed: int) -> AnnotatedDataset:
        """Return one split.

        Args:
            name: of the data set.
            split: one of ``SPLITS``.
            val_share: as of ``choose_split``.
            test_share: as of ``choose_split``.
            seed: as of ``choose_split``.
        """
        records = choose_split(self.records, self.splits, split, val_share=val_share, test_share=test_share, seed=seed)
        return AnnotatedDataset(
            name, split, records, shapes=self.shapes, sizes=self.sizes, source=self.source, labels=self.labels
        )


def choose_split(
    records: list[Record],
    given: Mapping[str, str],
    split: str,
    *,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> list[Record]:
    """Return a split's records: of the given splits, or of splits that are drawn as ``folder`` draws them.

    Args:
        records: of all splits.
        given: id -> split, where the files give splits.
        split: one of ``SPLITS``.
        val_share: share of each class for ``val``.
        test_share: share of each class for ``test``.
        seed: another seed draws other splits.
    """
    if split == "all":
        return records
    part = divide(records, given, val_share=val_share, test_share=test_share, seed=seed)
    parts = ("train", "val") if split == "trainval" else (split,)
    return [record for record in records if part[record.id] in parts]


def read_json(path: Path, *, what: str) -> Any:
    """Return a JSON file's content: UTF-8, -16 or -32, with or without a byte order mark.

    Args:
        path: the file.
        what: what it should hold, for the error.

    Raises:
        UserError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: expected {what}, but {error.strerror}; check data.root", code="E-FILE-UNREADABLE"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: expected {what}, but it is no JSON ({error}); export it again", code="E-DATA-JSON"
        ) from error


def check_unlabelled(unlabelled: str, *, name: str) -> None:
    """Refuse a value of the option ``unlabelled`` that is not in ``UNLABELLED``."""
    if unlabelled not in UNLABELLED:
        raise UserError(
            f"data set {name}: expected unlabelled out of {', '.join(UNLABELLED)}, got '{unlabelled}'"
            f"{did_you_mean(str(unlabelled), UNLABELLED)}",
            code="E-DATA-OPTION",
        )


def check_size(image: Path, hw: tuple[int, int], source: Path) -> None:
    """Refuse an image whose header has another size than its annotations; one that cannot be read is refused later.

    Swapped sides may be right: a PNG's rotation is known only after decoding.

    Args:
        image: the image file.
        hw: height and width in the annotations.
        source: the annotation file, for the error.
    """
    if not (min(hw) > 0 and 3 * hw[0] * hw[1] <= max_bytes()):
        raise UserError(
            f"{source}: expected the size of an image, got {hw[1]}x{hw[0]}; export it again", code="E-DATA-IMAGE-SIZE"
        )
    try:
        image_hw = picture_hw(image)
    except FileError:
        return
    if image_hw not in (hw, hw[::-1]):
        raise UserError(_other_size(image, hw, source, image_hw), code="E-DATA-IMAGE-SIZE")


def _other_size(image: Path | None, hw: tuple[int, int], source: Path, image_hw: tuple[int, int]) -> str:
    return (
        f"{image}: expected {hw[1]}x{hw[0]} (width x height) as in {source}, got {image_hw[1]}x{image_hw[0]}; "
        "annotate the image as it is now"
    )


def refuse_unlabelled(images: Sequence[str], total: int, *, where: Path, missing: str) -> None:
    """Refuse images without annotation: photos that nobody has annotated yet must not count as clean.

    Args:
        images: names of those without.
        total: how many images there are.
        where: file or folder, for the error.
        missing: what they lack, for the error.

    Raises:
        UserError: if there is any.
    """
    if images:
        raise UserError(
            f"{where}: expected {missing} for each of {total} images, got none for {len(images)} of them, the first is "
            f"{images[0]}; annotate them, or set data.options={{unlabelled: clean}} if such images show no defect, "
            "or data.options={unlabelled: skip} to leave them out",
            code="E-DATA-UNLABELLED",
        )


def largest(areas: Mapping[str, float]) -> str:
    """Return the name with the largest area; the first of equals."""
    best: Callable[[str], float] = areas.__getitem__
    return max(areas, key=best)


def _plain(value: Any) -> Any:
    """Make what JSON cannot hold plain: arrays as packed bits, bytes as text."""
    return np.packbits(value).tobytes().hex() if isinstance(value, np.ndarray) else value.decode()
