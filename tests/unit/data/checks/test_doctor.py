"""The data doctor's tables, exit codes and messages; the faults it finds are planted in tests/faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data.base import Record, RecordDataset
from samis.data.checks.doctor import check, examine, examine_named, write_contact_sheet
from samis.data.checks.quick_check import quick_check
from samis.data.own.folder import load_folder
from samis.data.public.rsdds import load_rsdds
from samis.errors import UserError

NOISE = np.random.default_rng(0).integers(40, 210, (48, 64), dtype=np.uint8)
BLOB = np.zeros((48, 64), np.uint8)
BLOB[10:20, 12:30] = 255


def put(path: Path, values: np.ndarray | Image.Image, **options: object) -> Path:
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
    return path


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
    findings = examine_named(load_rsdds, ["all"], root=root, grey_masks=True).findings
    assert [finding.code for finding in findings] == ["image_without_mask"]


def dataset(root: Path, split: str, *stems: str, class_name: str = "dent") -> RecordDataset:
    records = [Record(s, root / "images" / f"{s}.png", root / "masks" / f"{s}.png", class_name) for s in stems]
    return RecordDataset("own", split, records)


def test_the_two_duplicate_pairs_of_rsdds() -> None:
    try:
        load_rsdds(split="all")
    except UserError as error:
        pytest.skip(str(error))
    findings = examine_named(load_rsdds, ["all"]).findings
    pairs = {(Path(f.file).stem, f.message.split("rail_")[-1].split(".")[0]) for f in findings if f.code == "duplicate"}
    assert pairs == {("rail_60", "38"), ("rail_61", "48")}
    assert {finding.code for finding in findings} == {"duplicate", "two_truths"}
    assert {finding.severity for finding in findings} == {"warning"}
    parts = quick_check({split: load_rsdds(split=split) for split in ("train", "val", "test")})
    assert [finding.code for finding in parts.findings] == ["duplicate", "duplicate"], "each pair is on one side"


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
    with pytest.raises(UserError, match="E-FILE-NOT-WRITTEN"):
        write_contact_sheet(load_folder(root=root, split="all"), path / "below" / "a.png")
