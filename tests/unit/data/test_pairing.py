"""Images and masks find each other by stem; whatever has no partner is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data.pairing import PairingError, list_pictures, pair_folders
from samis.errors import UserError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_pairs_come_in_natural_order(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "rail_10.JPG", "rail_2.jpg", "é x.bmp", ".hidden.png", "Thumbs.db")
    masks = touch(tmp_path / "m", "rail_2.png", "rail_10.png", "é x.png")
    pairs = pair_folders(images, masks).require()
    assert list(pairs) == ["rail_2", "rail_10", "é x"]
    assert pairs["rail_10"].image_path.name == "rail_10.JPG"


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "\u00e9.png"), touch(tmp_path / "m", "e\u0301.png")
    assert len(pair_folders(images, masks).require()) == 1


def test_all_faults_are_told(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "a.png", "b.png", "b.jpg", "c.png")
    masks = touch(tmp_path / "m", "a.png", "b.png", "d.png")
    with pytest.raises(PairingError) as caught:
        pair_folders(images, masks).require()
    codes = sorted(fault.code for fault in caught.value.faults)
    assert codes == ["double_stem", "image_without_mask", "mask_without_image"]
    assert list(caught.value.complete) == ["a", "b"]
    assert "2 more" in str(caught.value)
    for fault in caught.value.faults:
        assert str(fault.file) in fault.message


def test_folders_missing_empty_or_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E-DATA-LAYOUT"):
        list_pictures(tmp_path / "none")
    with pytest.raises(UserError, match=r"1 entries.*E-DATA-EMPTY"):
        list_pictures(touch(tmp_path / "texts", "a.txt"))
    with pytest.raises(UserError, match="E-DATA-LAYOUT"):
        list_pictures(tmp_path / "texts" / "a.txt")


def test_masks_may_be_missing_where_asked(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "a.png")
    assert pair_folders(images, tmp_path / "none", masks_optional=True).require()["a"].mask_path is None


def test_a_folder_named_like_a_picture_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep.png").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png"]
