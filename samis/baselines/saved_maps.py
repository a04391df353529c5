"""Folders of published 8-bit maps as a segmenter, matched to images by the file name without its ending.

Differs from the field's toolkits, which score whatever names two folders share: here a missing or doubled map is an
error. A map of another size than its image is resized bilinearly, and counted.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samis.baselines.published_costs import stated_cost
from samis.core.contracts import Batch, Placement
from samis.core.geometry import to_crop
from samis.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""File endings taken for maps, in lower case."""


class SavedMaps:
    """Predicts with the maps of a folder; a map is value / 255.

    Several folders are either parts of one set, each image in exactly one of them, or several methods, each image in every
    one: then the answer is the mean of its maps, and the row is a ceiling. A mixture of the two is refused.

    Args:
        folder: of png, jpg or bmp files named like the images; further files are ignored. Several: a sequence, or one text with
            commas between them.
        name: of the row; None takes the folder's name, or "mean of A and B".

    Raises:
        UserError: a folder is missing or holds no map.
    """

    def __init__(self, folder: Path | str | Sequence[Path | str], *, name: str | None = None) -> None:
        self.folders = folders_of(folder)
        self._files = [_index(one) for one in self.folders]
        self._given_name = name
        self._mean = False
        self._resized: set[str] = set()
        self._sha256: str | None = None

    @property
    def methods(self) -> list[str]:
        """The folders' names, each once."""
        return list(dict.fromkeys(folder.name for folder in self.folders))

    @property
    def name(self) -> str:
        """Name of the row."""
        return self._given_name or (f"mean of {' and '.join(self.methods)}" if self._mean else self.methods[0])

    def check(self, ids: Iterable[str]) -> None:
        """Refuse to score unless each id has exactly one map, or one in each of several folders; called before the first image.

        Raises:
            UserError: names the folder and the ids that are missing or doubled.
        """
        ids = list(ids)
        places = {i: [number for number, files in enumerate(self._files) if _normal(i) in files] for i in ids}
        where = ", ".join(map(str, self.folders))
        missing = [i for i in ids if not places[i]]
        if missing:
            present = ", ".join(list(self._files[0])[:3])
            raise UserError(
                f"{where}: expected maps for {len(ids)} images, {len(missing)} missing: {_listed(missing)}; maps here are named "
                f"like {present}; score the split that they cover (--split), or add the others' folder (segmenter.maps=DIR,DIR)",
                code="E-MAP-MISSING",
            )
        mean = len(self._files) > 1 and len(places[ids[0]]) > 1
        for i in ids:
            if len(places[i]) != (len(self._files) if mean else 1):
                raise UserError(
                    f"{where}: expected each image in all folders (their mean is scored) or in one alone (parts of one set), but "
                    f"{ids[0]} is in {len(places[ids[0]])} of them and {i} in {len(places[i])}; complete the folders",
                    code="E-MAP-FOLDERS",
                )
        for files in self._files:
            doubled = [i for i in ids if len(files.get(_normal(i), [])) > 1]
            if doubled:
                first = ", ".join(path.name for path in files[_normal(doubled[0])])
                raise UserError(
                    f"{where}: expected one map an image, doubled: {_listed(doubled)} ({first}); remove one of each",
                    code="E-MAP-DOUBLED",
                )
        self._mean = mean
        digest = hashlib.sha256()
        for i in sorted(ids):
            contents = [hashlib.sha256(path.read_bytes()).digest() for path in self._paths(i)]
            digest.update(i.encode() + b"\0" + b"".join(contents))
        self._sha256 = digest.hexdigest()

    def covers(self, ids: Iterable[str]) -> bool:
        """Return whether ``check`` would accept the ids; what it recorded of others stays."""
        recorded = self._mean, self._sha256
        try:
            self.check(ids)
        except UserError:
            return False
        finally:
            self._mean, self._sha256 = recorded
        return True

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return (H, W) float32 maps in [0, 1], read from the folders.

        Raises:
            UserError: a map is missing, doubled, unreadable, or not 8-bit grey.
        """
        placements: dict[int, Placement] = {}
        for placement in batch.placements:
            placements.setdefault(placement.sample, placement)
        if any(len(self._paths(i)) != (len(self.folders) if self._mean else 1) for i in batch.ids):
            self.check(batch.ids)
        return [self._map(i, placements[index].file_hw) for index, i in enumerate(batch.ids)]

    def describe(self) -> dict[str, Any]:
        """Return a score row's description of the maps; ``resized`` counts those that did not have their image's size."""
        return {
            "kind": "ceiling" if self._mean else "saved_maps",
            "name": self.name,
            "folder": ", ".join(folder.name for folder in self.folders),
            "resized": len(self._resized),
            "prompt": "none",
            "mask_rule": None,
            "oracle": False,
            "weights_sha256": None,
            "maps_sha256": self._sha256,
        }

    def stated_cost(self) -> dict[str, Any]:
        """Return what is published about the cost of one image; empty if nothing is."""
        return stated_cost(self.methods)

    def _paths(self, sample_id: str) -> list[Path]:
        key = _normal(sample_id)
        return [path for files in self._files for path in files.get(key, [])]

    def _map(self, sample_id: str, file_hw: tuple[int, int]) -> Tensor:
        maps = [self._read(path, sample_id, file_hw) for path in self._paths(sample_id)]
        return maps[0] if len(maps) == 1 else torch.stack(maps).mean(0)

    def _read(self, path: Path, sample_id: str, file_hw: tuple[int, int]) -> Tensor:
        values = torch.from_numpy(read_map(path).astype(np.float32) / 255)
        map_hw = (values.shape[0], values.shape[1])
        if map_hw == file_hw:
            return values
        self._resized.add(sample_id)
        whole = Placement(0, file_hw, (0, 0, file_hw[1], file_hw[0]), map_hw, max(map_hw))
        return to_crop(values[None], whole)[0].clamp(0, 1)


def folders_of(given: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return the folders of one text or several; a folder whose own name has a comma is one.

    >>> [str(folder) for folder in folders_of("maps/A, maps/B")]
    ['maps/A', 'maps/B']
    """
    if isinstance(given, str) and "," in given and not Path(given).is_dir():
        return [Path(part.strip()) for part in given.split(",") if part.strip()]
    return [Path(given)] if isinstance(given, Path | str) else [Path(one) for one in given]


def _index(folder: Path) -> dict[str, list[Path]]:
    """Return the maps of a folder by normal stem.

    Raises:
        UserError: the folder is missing or holds no map.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: expected a folder of maps, but there is none; check segmenter.maps", code="E-MAP-NO-FOLDER"
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            files.setdefault(_normal(path.stem), []).append(path)
    if not files:
        raise UserError(
            f"{folder}: expected maps ({', '.join(SUFFIXES)}), got none; check segmenter.maps", code="E-MAP-EMPTY"
        )
    return files


def read_map(path: Path) -> np.ndarray:
    """Return an 8-bit grey map file as (H, W) uint8; colour files pass if their channels are (nearly, in JPEG) equal.

    Raises:
        UserError: the file is unreadable, of more than 8 bits, or coloured.
    """
    try:
        with Image.open(path) as picture:
            if picture.format == "TIFF":  # Pillow memory-maps an uncompressed file, and a rotated one with wrong rows
                picture.filename = ""
            picture.load()
            if picture.mode.startswith(("I", "F")):
                raise UserError(
                    f"{path}: expected an 8-bit map, got mode {picture.mode}; save it as 8-bit grey", code="E-MAP-DEPTH"
                )
            if picture.mode == "L":
                return np.array(picture)
            if picture.mode == "1":
                return np.array(picture.convert("L"))
            channels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: expected a readable map, but {reason}; copy it again", code="E-MAP-DAMAGED"
        ) from error
    if int(np.ptp(channels, axis=2).max()) > 8:
        raise UserError(
            f"{path}: expected a grey map, got a coloured one; use the maps, not overlays", code="E-MAP-COLOUR"
        )
    return channels[..., 1]


def _normal(stem: str) -> str:
    """Return the stem in Unicode's composed form: some systems write an accented letter as two characters."""
    return unicodedata.normalize("NFC", stem)


def _listed(ids: list[str]) -> str:
    """Return a short list.

    >>> _listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(ids[:5]) + more
