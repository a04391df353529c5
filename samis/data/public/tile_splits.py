"""Makes the committed lists of magnetic tile that keep tiles apart: ``python -m samis.data.public.tile_splits [ROOT]``.

Two divisions: ``by_tile`` (train, val and test of the defective photos, and of the defect-free ones), and the defect-free
photos of the usual division, whose defective photos are a public precedent. No random generator, no network: the same
photos give the same lists. ``splits/README.md`` has the result.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from samis.data.base import CLEAN, Record, read_split
from samis.data.checks.duplicates import group_pairs, near_pairs, thumbnail
from samis.data.pairing import natural_key
from samis.data.public.magnetic_tile import BY_TILE, NAME, every_photo, tile_pairs
from samis.data.reading import read_image, read_mask
from samis.data.splitting import carve, shares

SHOTS_OF_ONE_TILE = 400
"""Shot numbers closer than this show one tile here; twice the number that almost always separates tiles, for safety."""
FEWEST_PX = 5
"""A defective photo whose mask has fewer pixels is left out of ``by_tile``: 4 masks are black, 2 hold 1 and 3 pixels."""
SEEN_AGAIN = ("exp2_num_355658", "exp6_num_355732")
"""Defect-free photos in no list: their tile was photographed again 2,400 shots later, exp3_num_358127 to exp6_num_358179.

Shot numbers and thumbnails (which correlate with less than 0.9) keep the two apart; registered, their texture is the same.
"""
TEST, VAL, CLEAN_TEST, CLEAN_VAL = 0.22, 0.13, 0.25, 0.15
SEEDS = range(500)

Lists = dict[str, list[str]]
"""Name of a list, such as ``clean_val`` -> ids in natural order."""


def same_tile(ids: Sequence[str], thumbnails: np.ndarray) -> list[int]:
    """Return a group number for each photo; photos of one tile, and near duplicates of them, have the same.

    Args:
        ids: of all photos, defective and defect-free.
        thumbnails: (N, D) float32, one ``samis.data.checks.duplicates.thumbnail`` per row.
    """
    return group_pairs(len(ids), tile_pairs(ids, shots=SHOTS_OF_ONE_TILE) + near_pairs(thumbnails))


def divide_by_tile(class_of: Mapping[str, str], group_of: Mapping[str, int]) -> Lists:
    """Return the lists of the division by tile; a tile's photos, defective or not, are all in one split.

    Args:
        class_of: id -> class, ``clean`` for a defect-free photo.
        group_of: id -> group number, for the same ids.
    """
    rest = sorted(class_of, key=natural_key)
    of_split: Lists = {}
    for split, share, clean_share in (("test", TEST, CLEAN_TEST), ("val", VAL, CLEAN_VAL)):
        kinds = list(class_of.values())
        counts = shares(kinds, share) | {CLEAN: shares(kinds, clean_share).get(CLEAN, 0)}
        of_split[split] = _fullest(rest, class_of, group_of, counts)
        rest = [key for key in rest if key not in set(of_split[split])]
    of_split["train"] = rest
    lists: Lists = {}
    for split, ids in of_split.items():
        lists[split] = [key for key in ids if class_of[key] != CLEAN]
        lists[f"clean_{split}"] = [key for key in ids if class_of[key] == CLEAN]
    return lists


def divide_clean(split_of: Mapping[str, str], clean: Sequence[str], group_of: Mapping[str, int]) -> Lists:
    """Return ``clean_train``, ``clean_val`` and ``clean_test`` for defective photos that are divided already.

    A defect-free photo of a tile with defective photos joins their split; it is left out where they are in several.

    Args:
        split_of: id of a defective photo -> its split.
        clean: ids of the defect-free photos.
        group_of: id -> group number, of all of them.
    """
    taken: dict[int, set[str]] = {}
    for key, split in split_of.items():
        taken.setdefault(group_of[key], set()).add(split)
    lists: Lists = {f"clean_{split}": [] for split in ("train", "val", "test")}
    free = []
    for key in sorted(clean, key=natural_key):
        splits = taken.get(group_of[key], set())
        if not splits:
            free.append(key)
        elif len(splits) == 1:
            lists[f"clean_{next(iter(splits))}"].append(key)
    kinds = dict.fromkeys(clean, CLEAN)
    for split, share in (("test", CLEAN_TEST), ("val", CLEAN_VAL)):
        count = shares(list(kinds.values()), share)[CLEAN] - len(lists[f"clean_{split}"])
        chosen = _fullest(free, kinds, group_of, {CLEAN: count})
        lists[f"clean_{split}"] += chosen
        free = [key for key in free if key not in set(chosen)]
    lists["clean_train"] += free
    return {name: sorted(ids, key=natural_key) for name, ids in lists.items()}


def _fullest(
    ids: Sequence[str], class_of: Mapping[str, str], group_of: Mapping[str, int], counts: Mapping[str, int]
) -> list[str]:
    """Carve with each seed and return what fills the counts best, with the same weight for each class; the first of equals."""
    kinds, groups = [class_of[key] for key in ids], [group_of[key] for key in ids]

    def lacking(chosen: Sequence[str]) -> float:
        got = [class_of[key] for key in chosen]
        return sum(1 - got.count(name) / count for name, count in counts.items() if count)

    tried = (carve(ids, kinds, counts, groups=groups, seed=seed) for seed in SEEDS)
    return min(tried, key=lacking)


def make_lists(root: Path | str | None = None) -> dict[str, Lists]:
    """Return name of the division -> its lists, made again from the photos.

    Args:
        root: as of ``load_magnetic_tile``.

    Raises:
        UserError: the photos are not there.
    """
    records = sorted(every_photo(root), key=lambda record: natural_key(record.id))
    ids = [record.id for record in records]
    groups = same_tile(ids, np.stack([thumbnail(read_image(record.image_path)) for record in records]))
    group_of = dict(zip(ids, groups, strict=True))
    class_of = {record.id: record.class_name for record in records if _usable(record)}
    split_of = {key: split for split in ("train", "val", "test") for key in read_split(NAME, split)}
    clean = [record.id for record in records if record.class_name == CLEAN]
    made = {BY_TILE: divide_by_tile(class_of, group_of), NAME: divide_clean(split_of, clean, group_of)}
    return {
        division: {name: [key for key in ids if key not in SEEN_AGAIN] for name, ids in lists.items()}
        for division, lists in made.items()
    }


def _usable(record: Record) -> bool:
    if record.class_name == CLEAN or record.mask_path is None:
        return True
    return int(read_mask(record.mask_path, grey=True).sum()) >= FEWEST_PX


def main() -> None:
    """Write the lists into ``splits``."""
    folder = Path(__file__).parent / "splits"
    for division, lists in make_lists(sys.argv[1] if len(sys.argv) > 1 else None).items():
        (folder / division).mkdir(exist_ok=True)
        for name, ids in lists.items():
            (folder / division / f"{name}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
            print(f"{division}/{name}: {len(ids)}")


if __name__ == "__main__":
    main()
