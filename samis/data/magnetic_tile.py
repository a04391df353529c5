"""Magnetic tile (MT): 392 images of magnetic tiles with five kinds of defects, and 952 without any, sizes vary.

Folder tree, as the public download has it (the image and its mask lie side by side)::

    MT/
      MT_Blowhole/Imgs/exp<k>_num_<n>.jpg  and  .png (mask)
      MT_Break/Imgs/ ...   MT_Crack/Imgs/ ...   MT_Fray/Imgs/ ...   MT_Uneven/Imgs/ ...
      MT_Free/Imgs/ ...    (clean; all-black masks)

Paper: Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020 (doi 10.1007/s00371-018-1588-5).
Source: https://github.com/abin24/Magnetic-tile-defect-datasets. Licence: for research, not to be passed on.
Splits: ``test`` is the 78 and ``trainval`` the 314 defective images of a public precedent; ``train``/``val`` (277/37)
divide the 314 tile by tile; ``clean`` is MT_Free, whatever part of it is there. How: ``splits/README.md``.
Beware: a tile was photographed under up to six lights (exp1 ... exp6), and the precedent was drawn over photos: each of
its 78 test images shows a tile that ``trainval`` shows too. ``val`` shares no tile with ``train``. Masks have soft rims
and are cut at 127. Four MT_Uneven images have all-black masks in the download.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from samis.data.base import CLEAN, Record, RecordDataset, check_split, find_root, read_split, select
from samis.data.pairing import Pairs, list_pictures, pair_files

NAME = "magnetic_tile"
FOLDER = "MT"
SPLITS = ("train", "val", "test", "trainval", "clean")
CLASSES = {
    "MT_Blowhole": "blowhole",
    "MT_Break": "break",
    "MT_Crack": "crack",
    "MT_Fray": "fray",
    "MT_Uneven": "uneven",
    "MT_Free": CLEAN,
}
_SHOTS_OF_ONE_TILE = 200
HOW_TO_GET = (
    "get it from https://github.com/abin24/Magnetic-tile-defect-datasets. and keep its layout, 'MT/MT_Blowhole/Imgs' "
    "... 'MT/MT_Free/Imgs'"
)


def load_magnetic_tile(*, root: Path | str | None = None, split: str = "test") -> RecordDataset:
    """Load one split of the magnetic tile data.

    Args:
        root: the folder that holds ``MT_Blowhole`` and its sisters; None looks in the usual places.
        split: one of ``SPLITS``.

    Raises:
        UserError: if the folder, a file or the split is missing.
    """
    check_split(split, SPLITS, name=NAME)
    folder = find_root(root, FOLDER, HOW_TO_GET)
    found = Pairs()
    for kind, class_name in CLASSES.items():
        if (split == "clean") == (class_name == CLEAN):
            found.add(_side_by_side(folder / kind / "Imgs"))
    pairs = found.require()
    chosen = pairs if split == "clean" else select(pairs, read_split(NAME, split), root=folder)
    records = [
        Record(stem, p.image_path, p.mask_path, CLASSES[p.image_path.parent.parent.name]) for stem, p in chosen.items()
    ]
    return RecordDataset(NAME, split, records, grey_masks=True)


def tile_pairs(ids: Sequence[str]) -> list[tuple[int, int, float]]:
    """Return pairs of ids that show one tile, for ``samis.data.duplicates.group_pairs``.

    The number in a name counts shots; the shots of one tile under its lights follow each other, and between two tiles
    the count almost always jumps by more than 200.

    >>> tile_pairs(["exp1_num_3191", "exp1_num_9473", "exp2_num_3211"])
    [(0, 2, 1.0)]
    """
    numbers = sorted((int(name.rsplit("_", 1)[-1]), index) for index, name in enumerate(ids))
    return [(i, j, 1.0) for (low, i), (high, j) in pairwise(numbers) if high - low <= _SHOTS_OF_ONE_TILE]


def _side_by_side(folder: Path) -> Pairs:
    files = list_pictures(folder, what="images (.jpg) and masks (.png)")
    images = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
    masks = [path for path in files if path.suffix.lower() == ".png"]
    return pair_files(images, masks, masks_where=str(folder))
