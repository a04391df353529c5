"""Magnetic tile (MT): 392 images of magnetic tiles with five kinds of defects, and 952 without any, sizes vary.

Folder tree, as the public download has it (an image and its mask are in one folder)::

    MT/
      MT_Blowhole/Imgs/exp<k>_num_<n>.jpg  and  .png (mask)
      MT_Break/Imgs/ ...   MT_Crack/Imgs/ ...   MT_Fray/Imgs/ ...   MT_Uneven/Imgs/ ...
      MT_Free/Imgs/ ...    (clean; all-black masks)

Paper: Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020 (doi 10.1007/s00371-018-1588-5).
Source: https://github.com/abin24/Magnetic-tile-defect-datasets. Licence: for research, not to be passed on.
Splits: ``test`` is the 78 and ``trainval`` the 314 defective images of a public precedent; ``train``/``val`` (277/37)
divide the 314 tile by tile. ``clean_train``, ``clean_val`` and ``clean_test`` divide 300 of the defect-free photos;
``clean`` is all of MT_Free that is in the folder. How: ``splits/README.md``.
Beware: a tile was photographed under up to six lights (exp1 ... exp6), and the precedent was drawn over photos: each of
its 78 test images shows a tile that ``trainval`` shows too. ``division="by_tile"`` (in a config
``data.options: {split: by_tile}``) is our second division, in which no tile is in two splits; it leaves out six MT_Uneven
photos whose masks hold fewer than 5 pixels (four are all black). Masks have soft boundaries and are cut at 127.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from samis.data.base import CLEAN, Record, RecordDataset, check_split, find_root, read_split, select
from samis.data.pairing import Pair, Pairs, list_pictures, pair_files

NAME = "magnetic_tile"
FOLDER = "MT"
BY_TILE = "magnetic_tile_by_tile"
SPLITS = ("train", "val", "test", "trainval", "clean", "clean_train", "clean_val", "clean_test")
DIVISIONS = {"usual": NAME, "by_tile": BY_TILE}
"""Division -> folder of its lists in ``splits``."""
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


def load_magnetic_tile(
    *, root: Path | str | None = None, split: str = "test", division: str = "usual", clean: bool = False
) -> RecordDataset:
    """Load one split of the magnetic tile data.

    Args:
        root: the folder that holds ``MT_Blowhole`` and the other class folders; None searches the usual places.
        split: one of ``SPLITS``.
        division: ``usual`` (the precedent) or ``by_tile`` (no tile in two splits).
        clean: whether to add the split's defect-free photos.

    Raises:
        UserError: if the folder, a file, the split or the division is missing.
    """
    check_split(split, SPLITS, name=NAME)
    check_split(division, DIVISIONS, name=f"{NAME}, division")
    folder = find_root(root, FOLDER, HOW_TO_GET)
    lists, free = DIVISIONS[division], split.startswith(CLEAN)
    if split == CLEAN:
        return RecordDataset(NAME, split, _records(folder, defective=False, clean=True), grey_masks=True)
    label = NAME if division == "usual" else f"{NAME} ({division.replace('_', ' ')})"
    names = read_split(lists, split) + (read_split(lists, f"{CLEAN}_{split}") if clean and not free else [])
    by_id = {record.id: record for record in _records(folder, defective=not free, clean=clean or free)}
    pairs = {key: Pair(record.image_path, record.mask_path) for key, record in by_id.items()}
    records = [by_id[key] for key in select(pairs, names, root=folder)]
    return RecordDataset(label, split, records, grey_masks=True)


def every_photo(root: Path | str | None = None) -> list[Record]:
    """Return all photos in the folder, defective or not.

    Args:
        root: as of ``load_magnetic_tile``.

    Raises:
        UserError: if the folder or a file is missing.
    """
    return _records(find_root(root, FOLDER, HOW_TO_GET), defective=True, clean=True)


def tile_pairs(ids: Sequence[str], *, shots: int = _SHOTS_OF_ONE_TILE) -> list[tuple[int, int, float]]:
    """Return pairs of ids that show one tile, for ``samis.data.checks.duplicates.group_pairs``.

    The number in a name counts shots; the shots of one tile under its lights follow each other, and between two tiles
    the count almost always jumps by more than 200.

    Args:
        ids: names of photos.
        shots: neighbours whose numbers differ by at most this show one tile.

    >>> tile_pairs(["exp1_num_3191", "exp1_num_9473", "exp2_num_3211"])
    [(0, 2, 1.0)]
    """
    numbers = sorted((int(name.rsplit("_", 1)[-1]), index) for index, name in enumerate(ids))
    return [(i, j, 1.0) for (low, i), (high, j) in pairwise(numbers) if high - low <= shots]


def _records(folder: Path, *, defective: bool, clean: bool) -> list[Record]:
    pairs = Pairs()
    for kind, class_name in CLASSES.items():
        if clean if class_name == CLEAN else defective:
            pairs.add(_in_one_folder(folder / kind / "Imgs"))
    return [
        Record(stem, p.image_path, p.mask_path, CLASSES[p.image_path.parent.parent.name])
        for stem, p in pairs.require().items()
    ]


def _in_one_folder(folder: Path) -> Pairs:
    files = list_pictures(folder, what="images (.jpg) and masks (.png)")
    images = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
    masks = [path for path in files if path.suffix.lower() == ".png"]
    return pair_files(images, masks, masks_where=str(folder))
