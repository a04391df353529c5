"""A folder of published 8-bit maps as a segmenter, matched to images by the file name without its ending.

Differs from the field's toolkits, which score whatever names two folders share: here a missing or doubled map is an
error. A map of another size than its image is resized bilinearly, and counted.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samis.contracts import Batch, Placement, UserError
from samis.data.frame import to_crop

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""File endings taken for maps, in lower case."""


class SavedMaps:
    """Answers with the maps of a folder; a map is value / 255.

    Args:
        folder: of png, jpg or bmp files named like the images; further files are left alone.
        name: what the row is called; None takes the folder's name.

    Raises:
        UserError: the folder is missing or holds no map.
    """

    def __init__(self, folder: Path | str, *, name: str | None = None) -> None:
        self.folder = Path(folder)
        self.name = name or self.folder.name
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: expected a folder of maps, but there is none; check segmenter.maps")
        self._files: dict[str, list[Path]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                self._files.setdefault(_normal(path.stem), []).append(path)
        if not self._files:
            raise UserError(f"{self.folder}: expected maps ({', '.join(SUFFIXES)}), found none; check segmenter.maps")
        self._resized: set[str] = set()
        self._sha256: str | None = None

    def check(self, ids: Iterable[str]) -> None:
        """Refuse to score unless each id has exactly one map; called before the first image.

        Raises:
            UserError: names the folder and the ids that are missing or doubled.
        """
        ids = list(ids)
        missing = [i for i in ids if _normal(i) not in self._files]
        if missing:
            present = ", ".join(list(self._files)[:3])
            raise UserError(
                f"{self.folder}: expected maps for {len(ids)} images, {len(missing)} missing: {_listed(missing)}; "
                f"maps here are named like {present}"
            )
        doubled = [i for i in ids if len(self._files[_normal(i)]) > 1]
        if doubled:
            first = ", ".join(path.name for path in self._files[_normal(doubled[0])])
            raise UserError(
                f"{self.folder}: expected one map an image, doubled: {_listed(doubled)} ({first}); remove one of each"
            )
        digest = hashlib.sha256()
        for i in sorted(ids):
            digest.update(i.encode() + b"\0" + hashlib.sha256(self._files[_normal(i)][0].read_bytes()).digest())
        self._sha256 = digest.hexdigest()

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return (H, W) float32 maps in [0, 1], read from the folder.

        Raises:
            UserError: a map is missing, doubled, unreadable, or not 8-bit grey.
        """
        placements: dict[int, Placement] = {}
        for placement in batch.placements:
            placements.setdefault(placement.sample, placement)
        return [self._map(i, placements[index].file_hw) for index, i in enumerate(batch.ids)]

    def describe(self) -> dict[str, Any]:
        """Return what a score row says of the maps; ``resized`` counts those that did not have their image's size."""
        return {
            "kind": "saved_maps",
            "name": self.name,
            "folder": self.folder.name,
            "resized": len(self._resized),
            "prompt": "none",
            "mask_rule": None,
            "oracle": False,
            "weights_sha256": None,
            "maps_sha256": self._sha256,
        }

    def _map(self, sample_id: str, file_hw: tuple[int, int]) -> Tensor:
        paths = self._files.get(_normal(sample_id), [])
        if len(paths) != 1:
            self.check([sample_id])
        values = torch.from_numpy(read_map(paths[0]).astype(np.float32) / 255)
        map_hw = (values.shape[0], values.shape[1])
        if map_hw == file_hw:
            return values
        self._resized.add(sample_id)
        whole = Placement(0, file_hw, (0, 0, file_hw[1], file_hw[0]), map_hw, max(map_hw))
        return to_crop(values[None], whole)[0].clamp(0, 1)


def read_map(path: Path) -> np.ndarray:
    """Return an 8-bit grey map file as (H, W) uint8; colour files pass if their channels are (nearly, in JPEG) equal.

    Raises:
        UserError: the file is unreadable, of more than 8 bits, or coloured.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode.startswith(("I", "F")):
                raise UserError(f"{path}: expected an 8-bit map, got mode {picture.mode}; save it as 8-bit grey")
            if picture.mode == "L":
                return np.array(picture)
            if picture.mode == "1":
                return np.array(picture.convert("L"))
            channels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{path}: expected a readable map, but {told}; copy it again") from error
    if int(np.ptp(channels, axis=2).max()) > 8:
        raise UserError(f"{path}: expected a grey map, got a coloured one; is it an overlay?")
    return channels[..., 1]


def _normal(stem: str) -> str:
    """One machine writes e-acute as one sign, another as two."""
    return unicodedata.normalize("NFC", stem)


def _listed(ids: list[str]) -> str:
    """Return a short list.

    >>> _listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(ids[:5]) + more
