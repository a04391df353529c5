"""A user's own data in its three layouts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from samis.data.own.folder import load_folder
from samis.data.pairing import PairingError
from samis.errors import UserError

SPLITS = ("train", "val", "test")


def ids(root: Path, **options: object) -> dict[str, list[str]]:
    return {split: load_folder(root=root, split=split, **options).ids for split in SPLITS}  # type: ignore[arg-type]


def test_two_folders_are_carved(two_folders: Path) -> None:
    parts = ids(two_folders)
    assert [len(parts[split]) for split in SPLITS] == [22, 2, 6]
    assert len({key for part in parts.values() for key in part}) == 30
    assert set(load_folder(root=two_folders, split="trainval").ids) == set(parts["train"]) | set(parts["val"])
    assert len(load_folder(root=two_folders, split="all")) == 30
    assert ids(two_folders) == parts
    assert ids(two_folders, seed=1) != parts
    assert load_folder(root=two_folders, split="test")[0].image.shape == (40, 48, 3)


def test_other_folder_names(two_folders: Path) -> None:
    (two_folders / "images").rename(two_folders / "photos")
    assert len(load_folder(root=two_folders, images="photos", split="all")) == 30
    with pytest.raises(UserError, match=r"'images'.*E-DATA-LAYOUT"):
        load_folder(root=two_folders, split="all")


@pytest.mark.parametrize("seed", range(8))
def test_equal_images_stay_on_one_side(two_folders: Path, seed: int) -> None:
    for number in range(10):
        for part, ending in (("images", "jpg"), ("masks", "png")):
            folder = two_folders / part
            shutil.copy(folder / f"photo {number}.{ending}", folder / f"copy {number}.{ending}")
    parts = ids(two_folders, seed=seed)
    side = {key: split for split, part in parts.items() for key in part}
    assert len(side) == 40
    assert all(side[f"copy {number}"] == side[f"photo {number}"] for number in range(10))


def test_class_folders(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for kind in ("crack", "dent", "clean"):
        for number in range(10):
            draw(tmp_path / "images" / kind / f"{number}.png", number)
            if kind != "clean":
                draw(tmp_path / "masks" / kind / f"{number}.png", number, mask=True)
    test = load_folder(root=tmp_path, split="test")
    assert sorted(test.class_names) == ["clean"] * 2 + ["crack"] * 2 + ["dent"] * 2
    assert all(key.startswith(f"{kind}__") for key, kind in zip(test.ids, test.class_names, strict=True))
    clean = test[test.class_names.index("clean")]
    assert clean.mask is not None
    assert not clean.mask.any()
    draw(tmp_path / "masks" / "scale" / "0.png", 0, mask=True)
    with pytest.raises(UserError, match=r"scale.*E-DATA-LAYOUT"):
        load_folder(root=tmp_path, split="test")
    shutil.rmtree(tmp_path / "masks" / "scale")
    draw(tmp_path / "images" / "stray.png", 0)
    with pytest.raises(UserError, match="E-DATA-LAYOUT"):
        load_folder(root=tmp_path, split="test")


def test_split_folders(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for split, count in (("train", 20), ("val", 3), ("test", 4)):
        for number in range(count):
            draw(tmp_path / split / "images" / f"{split}{number}.png", number)
            draw(tmp_path / split / "masks" / f"{split}{number}.png", number, mask=True)
    assert {split: len(part) for split, part in ids(tmp_path).items()} == {"train": 20, "val": 3, "test": 4}
    shutil.rmtree(tmp_path / "val")
    carved = ids(tmp_path)
    assert {split: len(part) for split, part in carved.items()} == {"train": 18, "val": 2, "test": 4}
    assert all(key.startswith("train") for key in carved["val"])


def test_a_csv_of_pairs(tmp_path: Path, draw: Callable[..., Path]) -> None:
    lines = ["image;mask;class;split"]
    for number in range(8):
        draw(tmp_path / "x" / f"é {number}.png", number)
        draw(tmp_path / "y" / f"m{number}.png", number, mask=True)
        split = ("train", "val", "test", "train")[number % 4]
        lines.append(f"x/é {number}.png;y/m{number}.png;{'dent' if number % 2 else ''};{split}")
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(lines), encoding="utf-8-sig")
    train = load_folder(root=table, split="train")
    assert train.ids == ["é 0", "é 3", "é 4", "é 7"]
    assert train.class_names == ["defect", "dent", "defect", "dent"]
    assert len(load_folder(root=tmp_path, csv="pairs.csv", split="val")) == 2
    assert train[0].mask is not None


def test_stems_that_repeat_in_a_csv(tmp_path: Path, draw: Callable[..., Path]) -> None:
    lines = ["image,mask"]
    for camera in ("a", "b"):
        draw(tmp_path / camera / "0.png", 0)
        draw(tmp_path / camera / "0m.png", 0, mask=True)
        lines.append(f"{camera}/0.png,{camera}/0m.png")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    assert load_folder(root=tmp_path / "pairs.csv", split="all").ids == ["a__0", "b__0"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", "E-DATA-TABLE"),
        ("image,mask\n", "E-DATA-EMPTY"),
        ("image\na.png\n", "E-DATA-TABLE"),
        ("image,maks\na.png,a.png\n", "did you mean mask.*E-DATA-TABLE"),
        ("image,mask\na.png\n", "line 2: .* 2 cells.*E-DATA-TABLE"),
        ("image,mask\na.png,m.png,x\n", "line 2: .* 2 cells.*E-DATA-TABLE"),
        ("image,mask,split\na.png,m.png,tets\n", "line 2: .*did you mean test.*E-DATA-SPLIT"),
        ("image,mask\nnone.png,m.png\n", "line 2: .*none.png.*E-DATA-UNPAIRED"),
        ("image,mask\na.png,none.png\n", "line 2: .*none.png.*E-DATA-UNPAIRED"),
        ("image,mask\na.png,\n", "line 2: .*a.png.*E-DATA-UNPAIRED"),
        ("image,mask\na.png,m.png\na.png,m.png\n", "line 3: .*a.png.*E-DATA-SAME-NAME"),
    ],
)
def test_a_csv_with_faults(tmp_path: Path, draw: Callable[..., Path], text: str, parts: str) -> None:
    draw(tmp_path / "a.png", 0)
    draw(tmp_path / "m.png", 0, mask=True)
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=parts) as caught:
        load_folder(root=table, split="all")
    assert "pairs.csv" in str(caught.value)


def test_a_csv_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.csv.*E-FILE-UNREADABLE"):
        load_folder(root=tmp_path / "none.csv", split="all")
    (tmp_path / "latin.csv").write_bytes(b"image,mask\n\xe9,\xe9\n")
    with pytest.raises(UserError, match=r"latin.csv.*E-DATA-TABLE"):
        load_folder(root=tmp_path / "latin.csv", split="all")


def test_partners_that_are_missing(two_folders: Path) -> None:
    (two_folders / "masks" / "photo 3.png").unlink()
    (two_folders / "images" / "photo 4.jpg").unlink()
    with pytest.raises(PairingError, match=r"photo 3\.jpg: .*E-DATA-UNPAIRED") as caught:
        load_folder(root=two_folders, split="test")
    assert [fault.code for fault in caught.value.faults] == ["image_without_mask", "mask_without_image"]
    (two_folders / "masks" / "photo 4.png").unlink()
    assert len(load_folder(root=two_folders, split="all", unlabelled_ok=True)) == 29


def test_photos_without_any_mask(two_folders: Path) -> None:
    shutil.rmtree(two_folders / "masks")
    photos = load_folder(root=two_folders, split="all", unlabelled_ok=True)
    assert photos[0].mask is None


def test_doubled_stems(two_folders: Path, draw: Callable[..., Path]) -> None:
    draw(two_folders / "images" / "photo 3.png", 3)
    with pytest.raises(UserError, match=r"photo 3.*E-DATA-SAME-NAME"):
        load_folder(root=two_folders, split="all")


def test_what_makes_no_sense(two_folders: Path) -> None:
    with pytest.raises(UserError, match=r"val_share.*E-DATA-OPTION"):
        load_folder(root=two_folders, val_share=1.0)
    with pytest.raises(UserError, match="E-DATA-ROOT"):
        load_folder()
    with pytest.raises(UserError, match="E-DATA-EMPTY"):
        load_folder(root=two_folders, split="test", test_share=0.0)
