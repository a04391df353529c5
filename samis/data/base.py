"""What every data set on disk shares: a record per image, reading on demand, committed splits, where the data are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samis.core.contracts import Dataset, Sample
from samis.core.files import file_sha256
from samis.data.pairing import Pair
from samis.data.reading import read_image, read_mask
from samis.errors import UserError, did_you_mean

CLEAN = "clean"
"""Class name of images meant to hold no defect; such an image needs no mask file."""
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Record:
    """Where the files of one sample are.

    Attributes:
        id: unique within the data set.
        image_path: the image file.
        mask_path: the mask file; None where the truth is not known.
        class_name: kind of defect; ``"clean"`` without any.
    """

    id: str
    image_path: Path
    mask_path: Path | None
    class_name: str = "defect"


class RecordDataset:
    """A named split of image and mask files, read on access (implements ``samis.core.contracts.Dataset``).

    Args:
        name: the data set's name.
        split: the split's name.
        records: what it holds, in order; ids are unique.
        grey_masks: whether masks may hold values between black and white, cut at 127.

    Raises:
        UserError: if there are no records, or two of the same id.
    """

    def __init__(self, name: str, split: str, records: Iterable[Record], *, grey_masks: bool = False) -> None:
        self.name = name
        self.split = split
        self.records = list(records)
        self.grey_masks = grey_masks
        self.ids = [record.id for record in self.records]
        self.class_names = [record.class_name for record in self.records]
        self._fingerprint: str | None = None
        if not self.records:
            raise UserError(
                f"{name}, split '{split}': expected images, got none; choose another split or check the folder",
                code="E-DATA-EMPTY",
            )
        if len(set(self.ids)) < len(self.ids):
            repeated = next(i for n, i in enumerate(self.ids) if i in self.ids[:n])
            raise UserError(
                f"{name}, split '{split}': expected unique ids, got '{repeated}' twice; rename one of the files",
                code="E-DATA-SAME-NAME",
            )

    def __repr__(self) -> str:
        return f"<{self.name} {self.split}: {len(self)} images>"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk.

        Raises:
            UserError: if a file is missing, unreadable or not what its kind should be, or if the sizes differ.
        """
        record = self.records[index]
        image = read_image(record.image_path)
        mask = None
        if record.mask_path is not None:
            mask = read_mask(record.mask_path, grey=self.grey_masks)
            if mask.shape != image.shape[:2]:
                raise UserError(
                    f"{record.mask_path}: expected a mask as large as its image {record.image_path.name}, "
                    f"{_size(image.shape)}, got {_size(mask.shape)}; export the mask at the image's size",
                    code="E-DATA-MASK-SIZE",
                )
        elif record.class_name == CLEAN:
            mask = np.zeros(image.shape[:2], dtype=bool)
        return Sample(record.id, image, mask, record.class_name, record.image_path, record.mask_path)

    def fingerprint(self) -> str:
        """Return a sha256 over ids and file contents; the same files give the same value in any folder.

        Raises:
            UserError: if a file cannot be read.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256(f"grey_masks={self.grey_masks}\n".encode())
            for record in sorted(self.records, key=lambda r: r.id):
                mask = "none" if record.mask_path is None else file_sha256(record.mask_path)
                line = [record.id, record.class_name, file_sha256(record.image_path), mask]
                digest.update(("\x00".join(line) + "\n").encode("utf-8", "surrogateescape"))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} (width x height)"


def find_root(root: Path | str | None, folder: str, how_to_get: str) -> Path:
    """Return the data set's folder.

    Args:
        root: the folder, if the user named it.
        folder: the data set's usual folder name, searched for in ``$SAMIS_DATA``, then in ``data`` and ``../shared/data``
            next to the working folder and the repository.
        how_to_get: one line: the public source and the folder tree, for the error.

    Raises:
        UserError: if the folder is not there.
    """
    if root is not None:
        if not Path(root).is_dir():
            raise UserError(
                f"{root}: expected the folder of {folder}, got nothing there; {how_to_get}", code="E-DATA-ROOT"
            )
        return Path(root)
    variable = os.environ.get("SAMIS_DATA")
    if variable:
        places = [Path(variable)]
    else:
        parents = [Path.cwd(), _REPOSITORY]
        places = [parent / data for parent in parents for data in ("data", "../shared/data")]
    for place in places:
        if (place / folder).is_dir():
            return (place / folder).resolve()
    where = f"$SAMIS_DATA={variable}" if variable else "data/ or ../shared/data/ ($SAMIS_DATA is not set)"
    raise UserError(
        f"expected the folder '{folder}' in {where}, got nothing there; {how_to_get}; then pass root=FOLDER",
        code="E-DATA-ROOT",
    )


def check_split(split: str, splits: Collection[str], *, name: str) -> None:
    """Refuse a split that the data set does not have.

    Args:
        split: the split's name.
        splits: the data set's splits.
        name: of the data set, for the error.

    Raises:
        UserError: names the splits that exist, and the nearest.
    """
    if split not in splits:
        raise UserError(
            f"{name}: expected a split out of {', '.join(splits)}, got '{split}'{did_you_mean(split, splits)}",
            code="E-DATA-SPLIT",
        )


def read_split(name: str, split: str) -> list[str]:
    """Return the committed ids of one split of a data set; ``(clean_)trainval`` is ``(clean_)train`` and ``(clean_)val``.

    Args:
        name: of the data set, or of its division.
        split: of the list.

    Raises:
        UserError: if there is no such list.
    """
    if split.endswith("trainval"):
        prefix = split.removesuffix("trainval")
        return read_split(name, f"{prefix}train") + read_split(name, f"{prefix}val")
    path = Path(__file__).parent / "public" / "splits" / name / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(
            f"{path}: expected the list of names of split '{split}', got '{error.strerror}'", code="E-FILE-UNREADABLE"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def select(pairs: Mapping[str, Pair], names: Iterable[str], *, root: Path) -> dict[str, Pair]:
    """Return the pairs of the given ids, in the order of the ids.

    Args:
        pairs: id -> pair.
        names: the ids.
        root: the data set's folder, for the error.

    Raises:
        UserError: an id has no files; names the first and how many.
    """
    ids = list(names)
    missing = [name for name in ids if name not in pairs]
    if missing:
        raise UserError(
            f"{root}: expected {len(ids)} images of this split, got {len(ids) - len(missing)}; "
            f"the first missing is '{missing[0]}'; is the download complete?",
            code="E-DATA-INCOMPLETE",
        )
    return {name: pairs[name] for name in ids}


class Subset:
    """A few of a data set's samples, in the data set's order; a ``samis.core.contracts.Dataset``.

    Args:
        dataset: the data set that the samples are taken from.
        indices: which samples.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, sorted(indices)
        self.name, self.split = dataset.name, dataset.split
        self.ids = [dataset.ids[i] for i in self._indices]
        self.class_names = [dataset.class_names[i] for i in self._indices]
        records: Sequence[Record] = getattr(dataset, "records", [])
        self.records = [records[i] for i in self._indices] if records else []
        self.grey_masks = bool(getattr(dataset, "grey_masks", False))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._indices[index]]

    def fingerprint(self) -> str:
        """Return the sha256 over the data set's fingerprint and the ids taken."""
        return hashlib.sha256("\n".join([self._dataset.fingerprint(), *self.ids]).encode()).hexdigest()


def subset(dataset: Dataset, count: int, *, seed: int = 0, besides: str | None = None) -> Subset:
    """Draw `count` samples by seed, taking classes in turn so that each has its share; all if there are fewer.

    Args:
        dataset: the data set that the samples are taken from.
        count: how many.
        seed: another seed draws other samples.
        besides: a class whose samples are all taken, and do not count.
    """
    kept = [index for index, name in enumerate(dataset.class_names) if name == besides]
    order = np.random.default_rng(seed).permutation(len(dataset))
    rounds: dict[str, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for index in order.tolist():
        name = dataset.class_names[index]
        if name == besides:
            continue
        rounds[name] = rounds.get(name, 0) + 1
        ranked.append((rounds[name], len(ranked), index))
    return Subset(dataset, kept + [index for *_, index in sorted(ranked)[:count]])
