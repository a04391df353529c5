"""The committed lists are disjoint and as in their README; drawing splits is stable and keeps groups together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samis.data.base
from samis.core.files import file_sha256
from samis.data import load_dataset
from samis.data.base import RecordDataset, read_split
from samis.data.checks.duplicates import group_pairs, near_pairs, thumbnail
from samis.data.pairing import natural_key
from samis.data.public.magnetic_tile import BY_TILE, every_photo, tile_pairs
from samis.data.public.tile_splits import SHOTS_OF_ONE_TILE, make_lists
from samis.data.reading import read_image
from samis.data.splitting import carve, shares
from samis.errors import UserError

FOLDER = Path(samis.data.base.__file__).parent / "public" / "splits"
NAMES = ("sd_saliency_900", "magnetic_tile", "rsdds")


def test_lists_are_disjoint_and_sorted() -> None:
    files = sorted(FOLDER.glob("*/*.txt"))
    assert len(files) == 9 + 3 + 6  # and the clean lists of magnetic tile, and its division by tile
    for path in files:
        names = path.read_text().split("\n")[:-1]
        assert names == sorted(set(names), key=natural_key), path
    for name in NAMES:
        parts = [set(read_split(name, split)) for split in ("train", "val", "test")]
        assert len(set.union(*parts)) == sum(map(len, parts))


def test_the_fields_own_division_of_sd_saliency_900() -> None:
    test = {*range(61, 101), *range(161, 201), *range(261, 301)}
    assert set(read_split("sd_saliency_900", "test")) == {f"{k}_{n}" for k in ("In", "Pa", "Sc") for n in test}
    rest = set(range(1, 301)) - test
    assert set(read_split("sd_saliency_900", "trainval")) == {f"{k}_{n}" for k in ("In", "Pa", "Sc") for n in rest}


def test_duplicates_stay_on_one_side() -> None:
    sides = {key: split for split in ("train", "val", "test") for key in read_split("rsdds", split)}
    assert sides["rail_38"] == sides["rail_60"]
    assert sides["rail_48"] == sides["rail_61"]
    steel = read_split("sd_saliency_900", "train")
    assert {"Pa_101", "Pa_105"} <= set(steel)


def real(name: str, split: str) -> RecordDataset:
    try:
        dataset = load_dataset(name, split=split)
    except UserError as error:
        pytest.skip(f"{name} is not on this machine: {error}")
    assert isinstance(dataset, RecordDataset)
    return RecordDataset(name, split, sorted(dataset.records, key=lambda r: natural_key(r.id)))


def near(dataset: RecordDataset) -> list[tuple[int, int, float]]:
    return near_pairs(np.stack([thumbnail(read_image(record.image_path)) for record in dataset.records]))


def test_val_of_sd_saliency_900_can_be_made_again() -> None:
    data = real("sd_saliency_900", "trainval")
    counts = dict.fromkeys(("inclusion", "patch", "scratch"), 20)
    val = carve(data.ids, data.class_names, counts, groups=group_pairs(len(data), near(data)))
    assert val == read_split("sd_saliency_900", "val")


def test_val_of_magnetic_tile_can_be_made_again() -> None:
    data = real("magnetic_tile", "trainval")
    groups = group_pairs(len(data), tile_pairs(data.ids) + near(data))
    assert carve(data.ids, data.class_names, shares(data.class_names, 0.127), groups=groups) == read_split(
        "magnetic_tile", "val"
    )


def test_splits_of_rsdds_can_be_made_again() -> None:
    data = real("rsdds", "all")
    content = [file_sha256(record.image_path) for record in data.records]
    groups = [content.index(value) for value in content]
    test = carve(data.ids, data.class_names, {"rail defect": 20}, groups=groups)
    left = [index for index, key in enumerate(data.ids) if key not in test]
    ids = [data.ids[index] for index in left]
    val = carve(ids, ["rail defect"] * len(ids), {"rail defect": 7}, groups=[groups[index] for index in left])
    assert (test, val) == (read_split("rsdds", "test"), read_split("rsdds", "val"))


def test_no_image_of_val_is_near_one_of_train_in_magnetic_tile() -> None:
    data = real("magnetic_tile", "trainval")
    val = set(read_split("magnetic_tile", "val"))
    pairs = near(data) + tile_pairs(data.ids)
    assert len(pairs) > 100
    assert not [pair for pair in pairs if (data.ids[pair[0]] in val) != (data.ids[pair[1]] in val)]


CLASSES = ("blowhole", "break", "crack", "fray", "uneven")


def tiles() -> tuple[dict[str, str], dict[str, int]]:
    """Return class and group number (tile, near duplicates with it) of all photos of magnetic tile, by id."""
    try:
        records = every_photo()
    except UserError as error:
        pytest.skip(f"magnetic_tile is not on this machine: {error}")
    ids = [record.id for record in records]
    twins = near_pairs(np.stack([thumbnail(read_image(record.image_path)) for record in records]))
    groups = group_pairs(len(ids), twins + tile_pairs(ids, shots=SHOTS_OF_ONE_TILE))
    return {record.id: record.class_name for record in records}, dict(zip(ids, groups, strict=True))


def test_no_tile_is_in_two_splits_of_the_division_by_tile() -> None:
    class_of, group_of = tiles()
    sides: dict[int, set[str]] = {}
    for split in ("train", "val", "test"):
        for key in read_split(BY_TILE, split) + read_split(BY_TILE, f"clean_{split}"):
            sides.setdefault(group_of[key], set()).add(split)
    assert len(sides) > 100 and all(len(side) == 1 for side in sides.values())
    again = {"exp2_num_355658", "exp6_num_355732", "exp3_num_358127", "exp4_num_358138", "exp6_num_358179"}
    for division in (BY_TILE, "magnetic_tile"):  # one tile in two series of shots, which grouping does not join
        clean = {split: set(read_split(division, f"clean_{split}")) for split in ("train", "val", "test")}
        assert sum(bool(again & names) for names in clean.values()) == 1, division
    for split, share in (("train", 0.65), ("val", 0.13), ("test", 0.22)):
        names = read_split(BY_TILE, split)
        for kind in CLASSES:
            there = sum(kind == name for name in class_of.values())
            assert abs(sum(class_of[key] == kind for key in names) / there - share) < 0.08, (split, kind)
        assert {class_of[key] for key in read_split(BY_TILE, f"clean_{split}")} == {"clean"}
    assert sum(len(read_split(BY_TILE, split)) for split in ("trainval", "test")) == 392 - 6


def test_clean_tiles_of_the_usual_division_are_in_one_split() -> None:
    class_of, group_of = tiles()
    of_split = {
        split: {group_of[key] for key in read_split("magnetic_tile", split)} for split in ("train", "val", "test")
    }
    clean = {split: read_split("magnetic_tile", f"clean_{split}") for split in of_split}
    for split, names in clean.items():
        assert len(names) >= 45 and {class_of[key] for key in names} == {"clean"}
        for other in set(of_split) - {split}:
            mine = {group_of[key] for key in names}
            assert not mine & of_split[other] and not mine & {group_of[key] for key in clean[other]}, (split, other)


def test_lists_of_magnetic_tile_by_tile_can_be_made_again() -> None:
    tiles()
    made = make_lists()
    assert set(made) == {BY_TILE, "magnetic_tile"}
    assert [len(lists) for lists in made.values()] == [6, 3]
    for division, lists in made.items():
        for name, ids in lists.items():
            assert ids == read_split(division, name), (division, name)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 12)), min_size=1, max_size=40),
    st.floats(0, 0.9),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_carving_holds_for_any_data(rows: list[tuple[str, int]], share: float, seed: int, shuffler: object) -> None:
    ids = [f"id{number}" for number in range(len(rows))]
    kinds, groups = [kind for kind, _ in rows], [group for _, group in rows]
    counts = shares(kinds, share)
    chosen = carve(ids, kinds, counts, groups=groups, seed=seed)
    assert len(set(chosen)) == len(chosen)
    for kind in set(kinds):
        assert sum(kinds[ids.index(key)] == kind for key in chosen) <= counts[kind]
    for group in set(groups):
        members = {key for key, number in zip(ids, groups, strict=True) if number == group}
        assert members <= set(chosen) or not members & set(chosen)
    order = list(range(len(ids)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    again = carve(
        [ids[i] for i in order], [kinds[i] for i in order], counts, groups=[groups[i] for i in order], seed=seed
    )
    assert set(again) == set(chosen)


def test_shares_without_groups_are_exact() -> None:
    ids = [f"a{number}" for number in range(100)]
    kinds = ["x"] * 70 + ["y"] * 30
    chosen = carve(ids, kinds, shares(kinds, 0.1))
    assert [sum(key in chosen for key in ids[:70]), sum(key in chosen for key in ids[70:])] == [7, 3]
    assert chosen != carve(ids, kinds, shares(kinds, 0.1), seed=1)
    assert shares(["x"] * 3 + ["y"] * 2, 0.1) == {"x": 1, "y": 0}
