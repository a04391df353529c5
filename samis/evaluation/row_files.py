"""What the rows and files of one scoring are called, and whether there are such files already."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samis.core.files import replacing
from samis.errors import UserError
from samis.evaluation.score_row import read_row, rounded

PROTOCOL = "pysod"
"""The protocol that file names do not mention."""
SECTIONS = ("data", "frame", "prompt", "segmenter", "metrics")
"""Sections of the config that a row depends on."""
OF_NO_ROW = {
    "data.root", "data.label", "data.train", "data.val", "data.test", "data.augment", "data.limit", "data.clean_share",
    "data.check", "data.options", "segmenter.run", "segmenter.maps", "segmenter.weights", "segmenter.checkpoint_activations",
    "segmenter.compile", "segmenter.tta", "segmenter.pretrained", "segmenter.name", "metrics.batch_size",
}  # fmt: skip
"""Keys of them that a row's numbers do not depend on, or that its fingerprint and weights show."""


@dataclass(frozen=True)
class RowNames:
    """Names of one scoring's rows and files.

    Attributes:
        name: of the row.
        dataset: what rows call the data set.
        split: what they call its split.
        protocol: of the metrics.
    """

    name: str
    dataset: str
    split: str
    protocol: str

    @classmethod
    def build(cls, name: str, dataset: str, split: str, protocol: str, about: Mapping[str, Any]) -> RowNames:
        """Return the names of what describes itself by `about`: mirrored copies are not called as the same without them."""
        return cls(f"{name}, flips" if "tta" in about and "flip" not in name else name, dataset, split, protocol)

    def of(self, rule: str) -> str:
        """Return the name of one mask rule's row."""
        return f"{self.name}, {rule}" if rule else self.name

    def stem(self, rule: str = "") -> str:
        """Return a file stem such as ``sd_saliency_900-test-samis_lite_zero-shot_grid_contrast``, or ``...-published``."""
        protocol = [] if self.protocol == PROTOCOL else [self.protocol]
        words = (self.dataset, self.split, self.of(rule), *protocol)
        parts = (re.sub(r"[^\w.+-]+", "_", part).strip("_") for part in words)
        return "-".join(parts).lstrip(".-_")  # a hidden file would be passed over


def identity(provenance: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return what makes two rows of one name the same row: the data, how they are put into the frame, weights, metrics."""
    keys = {f"{section}.{key}": value for section in SECTIONS for key, value in (config.get(section) or {}).items()}
    return {
        "data fingerprint": provenance.get("data_fingerprint"), "sha256 of the weights": provenance.get("weights_sha256"),
        **{key: rounded(value) for key, value in keys.items() if key not in OF_NO_ROW},  # as a row's file holds numbers
        "segmenter.tta": provenance.get("tta", "none"),
    }  # fmt: skip


def map_writer(folder: Path | None, names: RowNames) -> Callable[[str, str, np.ndarray], None] | None:
    """Return what writes (rule, id, (H, W) uint8 map) as ``folder/<row's stem>/<id>.png``, each whole or not at all.

    Args:
        folder: of all maps; None returns None: no maps are written.
        names: of the rows.
    """
    if folder is None:
        return None

    def write(rule: str, sample_id: str, map_u8: np.ndarray) -> None:
        path = folder / names.stem(rule) / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            Image.fromarray(map_u8).save(temporary, format="PNG")

    return write


def refuse_existing(names: RowNames, rules: Iterable[str], out: Path, maps: Path | None, mine: dict[str, Any]) -> None:
    """Refuse to replace rows and maps without ``--overwrite``.

    Args:
        names: of the rows.
        rules: the mask rules that would be scored, "" for one row.
        out: folder of the rows.
        maps: folder of the maps, or None.
        mine: ``identity`` of the scoring.

    Raises:
        UserError: says whether what is there is of the same scoring, or what differs.
    """
    advice = "pass --overwrite to replace it, or another --name or --out; data.label names another data set"
    for stem in map(names.stem, rules):
        path = out / f"{stem}.json"
        if path.exists():
            try:
                row = read_row(path)
                theirs = identity(row.provenance, row.provenance.get("config") or {})
            except (ValueError, AttributeError):
                raise UserError(
                    f"{path}: expected no file of this name, found one that is no row; {advice}", code="E-ROW-EXISTS"
                ) from None
            differ = [key for key in mine if mine[key] != theirs.get(key, mine[key])]
            other = [f"{key} is {theirs[key]} there, {mine[key]} here" for key in differ]
            present = f"another row, {', '.join(other)}" if other else "the row of this very scoring"
            raise UserError(f"{path}: expected no row of this name, found {present}; {advice}", code="E-ROW-EXISTS")
        if maps and any((maps / stem).rglob("*.png")):
            raise UserError(
                f"{maps / stem}: expected no maps, found some; pass --overwrite, or another --name or --save-maps",
                code="E-ROW-EXISTS",
            )
