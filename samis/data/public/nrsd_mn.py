"""NRSD-MN: no-service rail surfaces, 2971 images to train on, 965 man-made and 165 natural ones to test on.

Folder tree, as the authors' own loader reads it (the mask has the image's stem)::

    NRSD-MN/
      images/{training,validation}/<name>.png
      annotations/{training,validation}/<name>.jpg     JPEG of a 0/255 mask, cut at 127
      test/{real,...}/images/<name>.png
      test/{real,...}/annotations/<name>.jpg

Paper: Zhang et al., MCnet: multiple context information segmentation network of no-service rail surface defects, IEEE
Transactions on Instrumentation and Measurement 2021 (doi 10.1109/TIM.2020.3040890).
Source: https://github.com/zdfcvsn/MCnet. Licence: for research, on request from the authors, not to be passed on.
Splits: ``trainval`` is the ``training`` folder; ``val`` is a tenth of it, chosen by a hash of the name, ``train`` the
rest; ``validation`` is the folder of that name (kept out of model selection, as it may be what others test on); each
folder under ``test`` is a split ``test_<folder>`` (``test_real``, ``test_man_made``), and ``test`` is all of them.
"""

from __future__ import annotations

import re
from pathlib import Path

from samis.data.base import Record, RecordDataset, check_split, find_root
from samis.data.pairing import Pair, Pairs, pair_folders
from samis.data.splitting import carve, shares
from samis.errors import UserError

NAME = "nrsd_mn"
FOLDER = "NRSD-MN"
CLASS_NAME = "rail defect"
VAL_SHARE = 0.1
HOW_TO_GET = (
    "ask for it at https://github.com/zdfcvsn/MCnet and keep its layout, 'NRSD-MN/images/training', "
    "'NRSD-MN/annotations/training', 'NRSD-MN/test/real/images', 'NRSD-MN/test/real/annotations'"
)


def load_nrsd_mn(*, root: Path | str | None = None, split: str = "test") -> RecordDataset:
    """Load one split of NRSD-MN.

    Args:
        root: the folder that holds ``images``, ``annotations`` and ``test``; None searches the usual places.
        split: ``train``, ``val``, ``trainval``, ``validation``, ``test`` or ``test_<folder>``.

    Raises:
        UserError: if the folder, a file or the split is missing.
    """
    folder = find_root(root, FOLDER, HOW_TO_GET)
    tests = _test_folders(folder)
    check_split(split, ["train", "val", "trainval", "validation", "test", *tests], name=NAME)
    if split.startswith("test"):
        pairs = _test_pairs(folder, tests, split)
    else:
        part = "validation" if split == "validation" else "training"
        pairs = pair_folders(folder / "images" / part, folder / "annotations" / part).require()
        if split in ("train", "val"):
            kinds = [CLASS_NAME] * len(pairs)
            val = set(carve(list(pairs), kinds, shares(kinds, VAL_SHARE)))
            pairs = {stem: pair for stem, pair in pairs.items() if (stem in val) == (split == "val")}
    records = [Record(stem, p.image_path, p.mask_path, CLASS_NAME) for stem, p in pairs.items()]
    return RecordDataset(NAME, split, records, grey_masks=True)


def _test_folders(folder: Path) -> dict[str, Path]:
    """Return the folders under ``test`` by split name, ``man-made`` as ``test_man_made``."""
    inside = sorted((folder / "test").iterdir()) if (folder / "test").is_dir() else []
    return {"test_" + re.sub(r"\W+", "_", path.name.lower()): path for path in inside if (path / "images").is_dir()}


def _test_pairs(folder: Path, tests: dict[str, Path], split: str) -> dict[str, Pair]:
    chosen = tests if split == "test" else {split: tests[split]}
    if not chosen:
        raise UserError(
            f"{folder / 'test'}: expected test folders such as 'real/images', got none; {HOW_TO_GET}",
            code="E-DATA-LAYOUT",
        )
    joined = Pairs()
    for name, path in chosen.items():
        pairs = pair_folders(path / "images", path / "annotations")
        if split == "test":  # two of the folders may have the same file name
            prefix = name.removeprefix("test_")
            pairs.by_stem = {f"{prefix}__{stem}": pair for stem, pair in pairs.by_stem.items()}
        joined.add(pairs)
    return joined.require()
