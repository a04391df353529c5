"""The data doctor finds every planted fault, and nothing in sound data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.contracts import UserError
from samis.data.base import Record, RecordDataset
from samis.data.doctor import check, examine, examine_named, write_contact_sheet
from samis.data.folder import load_folder
from samis.data.rsdds import load_rsdds

NOISE = np.random.default_rng(0).integers(40, 210, (48, 64), dtype=np.uint8)
BLOB = np.zeros((48, 64), np.uint8)
BLOB[10:20, 12:30] = 255


def put(path: Path, values: np.ndarray | Image.Image, **options: object) -> Path:
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
    return path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def label_mask(path: Path) -> Path:
    picture = Image.new("P", (64, 48))
    picture.putdata((BLOB > 0).astype(np.uint8).ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0])
    return put(path, picture)


IMAGE_FAULTS: dict[str, Callable[[Path], object]] = {
    "damaged": lambda p: truncated(put(p.with_suffix(".jpg"), NOISE)),
    "empty_file": lambda p: p.write_bytes(b""),
    "no_picture": lambda p: p.write_text("not found"),
    "16_bit": lambda p: put(p, NOISE.astype(np.uint16) * 257),
    "dark_image": lambda p: put(p, NOISE.astype(np.uint16) * 16),
    "palette": lambda p: put(p, Image.fromarray(NOISE).convert("P")),
    "alpha": lambda p: put(p, Image.fromarray(NOISE).convert("RGBA")),
    "colour_space": lambda p: put(p.with_suffix(".jpg"), Image.fromarray(NOISE).convert("CMYK")),
    "exif_rotation": lambda p: put(p.with_suffix(".jpg"), NOISE, exif=rotated()),
    "many_pictures": lambda p: Image.fromarray(NOISE).save(
        p.with_suffix(".tif"), save_all=True, append_images=[Image.fromarray(NOISE)]
    ),
    "flat_image": lambda p: put(p, np.full((48, 64), 9, np.uint8)),
    "mode": lambda p: put(p.with_suffix(".tif"), NOISE.astype(np.float32)),
}
MASK_FAULTS: dict[str, Callable[[Path], object]] = {
    "damaged": lambda p: truncated(put(p.with_suffix(".bmp"), BLOB)),
    "empty_file": lambda p: p.write_bytes(b""),
    "no_picture": lambda p: p.write_bytes(b"\x00" * 64),
    "mask_values": lambda p: put(p, BLOB // 2),
    "mask_values ": lambda p: put(p.with_suffix(".jpg"), BLOB, quality=60),
    "mask_values  ": lambda p: put(p, NOISE % 3),
    "mask_colour": lambda p: put(p, Image.merge("RGB", [Image.fromarray(v) for v in (BLOB, BLOB * 0, BLOB * 0)])),
    "mask_alpha": lambda p: put(p, np.dstack([BLOB, BLOB, BLOB, BLOB])),
    "palette": label_mask,
    "size_mismatch": lambda p: put(p, BLOB[:, :-1]),
    "size_mismatch ": lambda p: put(p, BLOB.T.copy()),
    "empty_mask": lambda p: put(p, BLOB * 0),
    "full_mask": lambda p: put(p, BLOB | 255),
    "inverted_mask": lambda p: put(p, 255 - BLOB),
    "tiny_defect": lambda p: put(p, np.where(np.arange(BLOB.size).reshape(BLOB.shape) == 900, 255, 0).astype(np.uint8)),
}
FOLDER_FAULTS: dict[str, Callable[[Path], object]] = {
    "image_without_mask": lambda root: (root / "masks" / "b.png").unlink(),
    "mask_without_image": lambda root: (root / "images" / "b.png").unlink(),
    "double_stem": lambda root: put(root / "images" / "a.jpg", NOISE),
    "does_not_load": lambda root: shutil.rmtree(root / "masks"),
    "duplicate": lambda root: shutil.copy(root / "images" / "a.png", root / "images" / "b.png"),
    "two_truths": lambda root: shutil.copy(root / "images" / "a.png", root / "images" / "b.png"),
    "damaged": lambda root: (
        (root / "images" / "b.png").unlink(),
        (root / "images" / "b.png").symlink_to(root / "images" / "b.png"),
    ),
    "missing": lambda root: (
        (root / "images" / "b.png").unlink(),
        (root / "images" / "b.png").symlink_to(root / "gone.png"),
    ),
    "case_clash": lambda root: [
        shutil.copy(root / part / "a.png", root / part / "A.png") for part in ("images", "masks")
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three sound samples with spaces and accents in one name."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number, stem in enumerate(("a", "b", "größe 1 (neu)")):
        put(
            tmp_path / "images" / f"{stem}.png",
            np.random.default_rng(number).integers(40, 210, (48, 64), dtype=np.uint8),
        )
        put(tmp_path / "masks" / f"{stem}.png", np.roll(BLOB, number, axis=1))
    return tmp_path


def codes(root: Path) -> set[str]:
    return {finding.code for finding in examine_named(load_folder, ["all"], root=root).findings}


def test_sound_data_has_no_findings(root: Path) -> None:
    assert codes(root) == set()


@pytest.mark.parametrize("code", IMAGE_FAULTS)
def test_planted_image_faults(root: Path, code: str) -> None:
    path = root / "images" / "a.png"
    path.unlink()
    IMAGE_FAULTS[code](path)
    assert code.strip() in codes(root)


@pytest.mark.parametrize("code", MASK_FAULTS)
def test_planted_mask_faults(root: Path, code: str) -> None:
    path = root / "masks" / "a.png"
    path.unlink()
    MASK_FAULTS[code](path)
    assert code.strip() in codes(root)


@pytest.mark.parametrize("code", FOLDER_FAULTS)
def test_planted_folder_faults(root: Path, code: str) -> None:
    FOLDER_FAULTS[code](root)
    assert code in codes(root)


def test_an_image_of_30000_by_30000(root: Path, announce: Callable[..., Path]) -> None:
    announce(root / "images" / "a.png", 30000, 30000)
    assert "too_large" in codes(root)


def test_at_least_30_faults_are_planted() -> None:
    assert len(IMAGE_FAULTS) + len(MASK_FAULTS) + len(FOLDER_FAULTS) >= 30


def test_every_finding_names_its_file_in_one_line(root: Path) -> None:
    (root / "images" / "a.png").write_bytes(b"")
    put(root / "masks" / "b.png", BLOB // 2)
    findings = examine_named(load_folder, ["all"], root=root).findings
    assert {Path(finding.file).name for finding in findings} == {"a.png", "b.png"}
    for finding in findings:
        assert finding.severity == "error"
        assert finding.file in finding.message
        assert "\n" not in finding.message


def test_pairs_that_are_sound_are_examined_beside_the_missing(root: Path) -> None:
    (root / "masks" / "b.png").unlink()
    put(root / "masks" / "a.png", BLOB * 0)
    assert codes(root) == {"image_without_mask", "empty_mask"}


def test_grey_masks_of_a_data_set_that_does_not_load(root: Path) -> None:
    inner = root / "Type-I RSDDs dataset"
    inner.mkdir()
    (root / "images").rename(inner / "Rail surface images")
    (root / "masks").rename(inner / "GroundTruth")
    put(inner / "GroundTruth" / "a.jpg", BLOB, quality=60)
    (inner / "GroundTruth" / "a.png").unlink()
    (inner / "GroundTruth" / "b.png").unlink()
    found = examine_named(load_rsdds, ["all"], root=root, grey_masks=True).findings
    assert [finding.code for finding in found] == ["image_without_mask"]


def dataset(root: Path, split: str, *stems: str, class_name: str = "dent") -> RecordDataset:
    records = [Record(s, root / "images" / f"{s}.png", root / "masks" / f"{s}.png", class_name) for s in stems]
    return RecordDataset("own", split, records)


def test_leaks_between_splits(root: Path) -> None:
    found = check({"train": dataset(root, "train", "a", "b"), "test": dataset(root, "test", "b")})
    assert [(finding.severity, finding.code) for finding in found] == [("error", "leak")]
    brighter = np.clip(np.asarray(Image.open(root / "images" / "a.png")) * 0.9 + 20, 0, 255).astype(np.uint8)
    put(root / "images" / "b.png", brighter)
    found = check({"train": dataset(root, "train", "a"), "test": dataset(root, "test", "b")})
    assert [finding.code for finding in found] == ["near_leak"]


def test_clean_images_with_defects(root: Path) -> None:
    assert [f.code for f in check(dataset(root, "clean", "a", class_name="clean"))] == ["clean_with_defect"]


def test_table_json_and_exit_code(root: Path) -> None:
    put(root / "masks" / "a.png", BLOB * 0)
    result = examine(dataset(root, "train", "a", "b"))
    table = json.loads(json.dumps(result.as_dict()))
    area = round(180 / (48 * 64), 6)
    assert table["classes"] == [
        {
            "split": "train",
            "class": "dent",
            "images": 2,
            "empty_masks": 1,
            "area_min": 0.0,
            "area_median": round(area / 2, 6),
            "area_max": area,
        }
    ]
    assert table["counts"] == {"error": 0, "warning": 1, "note": 0}
    assert result.exit_code == 1
    assert examine(dataset(root, "train", "b")).exit_code == 0
    (root / "images" / "b.png").write_bytes(b"")
    assert examine(dataset(root, "train", "b")).exit_code == 2


def test_contact_sheet(root: Path, tmp_path: Path) -> None:
    (root / "images" / "b.png").write_bytes(b"")
    path = write_contact_sheet({"all": load_folder(root=root, split="all")}, tmp_path / "new" / "sheet.png")
    pixels = np.asarray(Image.open(path))
    assert pixels.shape[1] > 3 * 128
    assert ((pixels[..., 0] > 200) & (pixels[..., 1] < 60)).any()
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]
    with pytest.raises(UserError, match="expected to write"):
        write_contact_sheet(load_folder(root=root, split="all"), path / "below" / "a.png")
