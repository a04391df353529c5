"""Carved splits hold for any data: disjoint, complete, whole groups, shares kept, stable by seed and against order."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from samis.data.base import CLEAN, Record
from samis.data.own import folder
from samis.data.own.folder import divide
from samis.data.splitting import carve, shares

FEW = settings(max_examples=60, deadline=None, derandomize=True)
ROWS = st.lists(st.tuples(st.sampled_from(["crack", "dent", CLEAN]), st.integers(0, 25)), min_size=1, max_size=40)
SHARE = st.floats(0, 0.9)
SEED = st.integers(0, 50)


def records(rows: list[tuple[str, int]]) -> list[Record]:
    """Records whose second value tells which of them hold the same photo."""
    return [Record(f"id{n}", Path(f"{content}/{n}"), None, kind) for n, (kind, content) in enumerate(rows)]


def divided(data: list[Record], given_splits: dict[str, str] | None = None, **options: float) -> dict[str, str]:
    with mock.patch.object(folder, "file_sha256", lambda path: path.parent.name):
        return divide(data, given_splits or {}, **{"val_share": 0.1, "test_share": 0.2, "seed": 0, **options})


@FEW
@given(ROWS, SHARE, SHARE, SEED)
def test_each_image_is_in_one_split_and_photos_are_never_parted(
    rows: list[tuple[str, int]], val: float, test: float, seed: int
) -> None:
    data = records(rows)
    part = divided(data, val_share=val, test_share=test, seed=seed)
    assert list(part) == [record.id for record in data]
    assert set(part.values()) <= {"train", "val", "test"}
    sides: dict[str, set[str]] = {}
    for record in data:
        sides.setdefault(record.image_path.parent.name, set()).add(part[record.id])
    assert all(len(splits) == 1 for splits in sides.values())
    kinds = [record.class_name for record in data]
    for kind, most in shares(kinds, test).items():
        assert sum(part[record.id] == "test" and record.class_name == kind for record in data) <= most


@FEW
@given(ROWS, SEED, st.randoms(use_true_random=False))
def test_a_split_depends_on_the_seed_alone(rows: list[tuple[str, int]], seed: int, chance: object) -> None:
    data = records(rows)
    part = divided(data, seed=seed)
    assert divided(data, seed=seed) == part
    mixed = list(data)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert divided(mixed, seed=seed) == part


@FEW
@given(ROWS, st.data())
def test_given_splits_are_kept(rows: list[tuple[str, int]], draw: st.DataObject) -> None:
    data = records(rows)
    given_splits = {record.id: draw.draw(st.sampled_from(["train", "val", "test"])) for record in data}
    part = divided(data, given_splits)
    if "val" in given_splits.values():
        assert part == given_splits
    moved = {key for key in part if part[key] != given_splits[key]}
    assert all((given_splits[key], part[key]) == ("train", "val") for key in moved)


@FEW
@given(st.integers(3, 80), st.floats(0.05, 0.6), SEED)
def test_without_groups_the_share_is_exact_and_one_image_more_moves_few(count: int, share: float, seed: int) -> None:
    ids = [f"photo {n}" for n in range(count)]
    kinds = ["x"] * count
    chosen = carve(ids, kinds, shares(kinds, share), seed=seed)
    assert len(chosen) == len(set(chosen)) == max(1, round(count * share))
    assert set(chosen) <= set(ids)
    more = carve([*ids, "new"], [*kinds, "x"], shares([*kinds, "x"], share), seed=seed)
    assert len(set(chosen) - set(more)) <= 1
