"""Each data set: its samples, its splits, and its errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samis.core.contracts import Dataset
from samis.data import DATASETS, check_options, dataset_label, load_dataset, loader_options
from samis.data.base import Record, RecordDataset, find_root, read_split
from samis.data.own.folder import load_folder
from samis.data.public import magnetic_tile
from samis.data.public.nrsd_mn import load_nrsd_mn
from samis.errors import UserError

COUNTS = {
    ("sd_saliency_900", "train"): {"inclusion": 160, "patch": 160, "scratch": 160},
    ("sd_saliency_900", "val"): {"inclusion": 20, "patch": 20, "scratch": 20},
    ("sd_saliency_900", "test"): {"inclusion": 120, "patch": 120, "scratch": 120},
    ("sd_saliency_900", "trainval"): {"inclusion": 180, "patch": 180, "scratch": 180},
    ("sd_saliency_900", "all"): {"inclusion": 300, "patch": 300, "scratch": 300},
    ("magnetic_tile", "trainval"): {"uneven": 88, "blowhole": 84, "break": 70, "crack": 45, "fray": 27},
    ("magnetic_tile", "val"): {"uneven": 10, "blowhole": 11, "break": 9, "crack": 4, "fray": 3},
    ("magnetic_tile", "test"): {"uneven": 15, "blowhole": 31, "break": 15, "crack": 12, "fray": 5},
    ("rsdds", "train"): {"rail defect": 40},
    ("rsdds", "val"): {"rail defect": 7},
    ("rsdds", "test"): {"rail defect": 20},
}


def load_real(name: str, split: str) -> Dataset:
    """Load a real data set, or skip where it is not."""
    try:
        find_root(None, {"sd_saliency_900": "SD-saliency-900", "magnetic_tile": "MT", "rsdds": "RSDDs"}[name], "")
    except UserError:
        pytest.skip(f"{name} is not on this machine (set SAMIS_DATA)")
    return load_dataset(name, split=split)


@pytest.mark.parametrize("division", ["usual", "by_tile"])
def test_clean_tiles_join_their_split(division: str) -> None:
    load_real("magnetic_tile", "test")
    alone = load_dataset("magnetic_tile", split="val", division=division)
    both = load_dataset("magnetic_tile", split="val", division=division, clean=True)
    assert both.ids[: len(alone)] == alone.ids and "clean" not in alone.class_names
    assert set(both.class_names[len(alone) :]) == {"clean"}
    assert both.ids[len(alone) :] == load_dataset("magnetic_tile", split="clean_val", division=division).ids
    everything = load_dataset("magnetic_tile", split="trainval", division=division, clean=True)
    assert set(both.ids) < set(everything.ids)


@pytest.mark.parametrize("division", ["usual", "by_tile"])
def test_a_division_has_its_own_lists(division: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the photos: a record stands for every name of both divisions, and the loader chooses among them."""
    lists = {"usual": "magnetic_tile", "by_tile": "magnetic_tile_by_tile"}
    names = {key for each in lists.values() for split in ("trainval", "test") for key in read_split(each, split)}
    records = [Record(key, tmp_path / f"{key}.jpg", tmp_path / f"{key}.png", "crack") for key in sorted(names)]
    monkeypatch.setattr(magnetic_tile, "_records", lambda *_, **__: records)
    monkeypatch.setattr(magnetic_tile, "find_root", lambda *_: tmp_path)
    for split in ("train", "val", "test"):
        options = loader_options("magnetic_tile", {"split": division})
        ids = load_dataset("magnetic_tile", root=tmp_path, split=split, **options).ids
        assert sorted(ids) == sorted(read_split(lists[division], split))
        other = lists["usual" if division == "by_tile" else "by_tile"]
        assert sorted(ids) != sorted(read_split(other, split))


def test_the_division_is_part_of_the_name() -> None:
    assert dataset_label("magnetic_tile", {"split": "by_tile"}) == "magnetic_tile (by tile)"
    assert (
        dataset_label("magnetic_tile", {"division": "usual"}) == dataset_label("magnetic_tile", {}) == "magnetic_tile"
    )
    assert dataset_label("coco", {"json": "a.json", "seed": 0}) == "coco (json=a.json)"
    assert loader_options("magnetic_tile", {"split": "by_tile"}) == {"division": "by_tile"}
    with pytest.raises(UserError, match=r"rsdds.*by_tile.*add data.options=\{\} if.*E-DATA-OPTION"):
        loader_options("rsdds", {"split": "by_tile"})
    with pytest.raises(UserError, match=r"did you mean by_tile.*E-DATA-OPTION"):
        load_dataset("magnetic_tile", division="bytile")


def check_contract(dataset: Dataset) -> None:
    """What every data set keeps (see ``samis.core.contracts.Dataset``)."""
    assert isinstance(dataset, Dataset)
    assert len(dataset) == len(dataset.ids) == len(dataset.class_names) == len(set(dataset.ids)) > 0
    for index in (0, len(dataset) - 1):
        sample = dataset[index]
        assert sample.id == dataset.ids[index]
        assert sample.class_name == dataset.class_names[index]
        assert sample.image.dtype == np.uint8
        assert sample.image.ndim == 3
        assert sample.mask is not None
        assert sample.mask.dtype == bool
        assert sample.mask.shape == sample.image.shape[:2]
    assert len(dataset.fingerprint()) == 64
    assert dataset.fingerprint() == dataset.fingerprint()
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_real_counts(name: str, split: str) -> None:
    dataset = load_real(name, split)
    assert Counter(dataset.class_names) == COUNTS[name, split]


@pytest.mark.parametrize(("name", "split"), [("sd_saliency_900", "val"), ("magnetic_tile", "val"), ("rsdds", "val")])
def test_real_contract(name: str, split: str) -> None:
    check_contract(load_real(name, split))


def test_clean_tiles_hold_no_defect() -> None:
    clean = load_real("magnetic_tile", "clean")
    assert set(clean.class_names) == {"clean"}
    mask = clean[0].mask
    assert mask is not None
    assert not mask.any()


@pytest.mark.parametrize("name", DATASETS)
def test_a_wrong_split_has_a_code(name: str, tmp_path: Path) -> None:
    if name == "procedural":
        pytest.importorskip("samis.data.public.procedural")
    with pytest.raises(UserError, match=r"tset.*E-DATA-SPLIT"):
        load_dataset(name, root=tmp_path, split="tset")


def test_wrong_names_have_codes() -> None:
    with pytest.raises(UserError, match=r"did you mean magnetic_tile.*E-DATA-SET"):
        load_dataset("magnetictile")
    with pytest.raises(UserError, match=r"did you mean masks.*E-DATA-OPTION"):
        load_dataset("folder", maks="x")
    with pytest.raises(UserError, match=r"colour.*E-DATA-OPTION"):
        load_dataset("rsdds", colour=True)


@pytest.mark.parametrize("name", ["sd_saliency_900", "magnetic_tile", "rsdds", "nrsd_mn"])
def test_data_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMIS_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"https?://.*E-DATA-ROOT"):
        load_dataset(name)
    with pytest.raises(UserError, match=r"E-DATA-LAYOUT|E-DATA-INCOMPLETE"):
        load_dataset(name, root=tmp_path)  # an empty folder
    with pytest.raises(UserError, match=r"none.*E-DATA-ROOT"):
        load_dataset(name, root=tmp_path / "none")


def draw_steel(root: Path, draw: Callable[..., Path], names: list[str]) -> Path:
    for number, name in enumerate(names):
        draw(root / "Source Images" / f"{name}.bmp", number)
        draw(root / "Ground truth" / f"{name}.png", number, mask=True)
    return root


def test_the_public_layout_of_sd_saliency_900(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = draw_steel(tmp_path, draw, read_split("sd_saliency_900", "val"))
    dataset = load_dataset("sd_saliency_900", root=root, split="val")
    assert len(dataset) == 60
    check_contract(dataset)
    with pytest.raises(UserError, match=r"480 images.*E-DATA-INCOMPLETE"):
        load_dataset("sd_saliency_900", root=root, split="train")
    (root / "Ground truth" / "In_999.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"In_999\.png: .*E-DATA-UNPAIRED"):
        load_dataset("sd_saliency_900", root=root, split="val")


def draw_rails(root: Path, draw: Callable[..., Path]) -> Path:
    for number in range(40):
        draw(root / "images" / "training" / f"r{number}.png", number)
        draw(root / "annotations" / "training" / f"r{number}.jpg", number, mask=True)
    for part, count in (("validation", 3), ("real", 2), ("man-made", 4)):
        images, masks = (f"images/{part}", f"annotations/{part}")
        if part != "validation":
            images, masks = f"test/{part}/images", f"test/{part}/annotations"
        for number in range(count):
            draw(root / images / f"{number}.png", number)
            draw(root / masks / f"{number}.jpg", number, mask=True)
    return root


def test_nrsd_mn_by_its_folders(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = draw_rails(tmp_path, draw)
    sizes = {"train": 36, "val": 4, "trainval": 40, "validation": 3, "test": 6, "test_real": 2, "test_man_made": 4}
    for split, size in sizes.items():
        dataset = load_nrsd_mn(root=root, split=split)
        assert len(dataset) == size, split
        check_contract(dataset)
    train, val = (set(load_nrsd_mn(root=root, split=split).ids) for split in ("train", "val"))
    assert not train & val
    with pytest.raises(UserError, match=r"test_man_made.*E-DATA-SPLIT"):
        load_nrsd_mn(root=root, split="test_natural")


def test_sizes_that_differ(tmp_path: Path, draw: Callable[..., Path]) -> None:
    record = Record("a", draw(tmp_path / "a.png", 0), draw(tmp_path / "m.png", 0, mask=True, hw=(40, 47)))
    with pytest.raises(UserError, match=r"m\.png.*48x40.*47x40.*E-DATA-MASK-SIZE"):
        RecordDataset("own", "test", [record])[0]


def test_unlabelled_and_clean_images(tmp_path: Path, draw: Callable[..., Path]) -> None:
    image = draw(tmp_path / "a.png", 0)
    dataset = RecordDataset("own", "test", [Record("a", image, None), Record("b", image, None, "clean")])
    assert dataset[0].mask is None
    mask = dataset[1].mask
    assert mask is not None
    assert not mask.any()


def test_empty_and_doubled_records(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E-DATA-EMPTY"):
        RecordDataset("own", "test", [])
    with pytest.raises(UserError, match=r"'a'.*E-DATA-SAME-NAME"):
        RecordDataset("own", "test", [Record("a", tmp_path, None)] * 2)


def test_the_fingerprint_follows_the_contents(two_folders: Path, tmp_path: Path, draw: Callable[..., Path]) -> None:
    first = load_folder(root=two_folders, split="all").fingerprint()
    moved = two_folders.rename(tmp_path / "elsewhere")
    assert load_folder(root=moved, split="all").fingerprint() == first
    draw(moved / "masks" / "photo 3.png", 99, mask=True)
    assert load_folder(root=moved, split="all").fingerprint() != first


def test_each_line_of_several_wrong_options_ends_with_the_code() -> None:
    with pytest.raises(UserError) as caught:
        check_options("folder", {"maks": 1, "val_share": 3})
    lines = str(caught.value).split("\n")
    assert len(lines) == 2 and all(line.endswith(" [E-DATA-OPTION]") for line in lines)
    assert all(line.count("[E-") == 1 for line in lines)
