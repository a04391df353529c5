"""Rows and maps on disk: a file for each identity, and nothing replaced that nobody asked to replace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.config import Experiment, apply_overrides
from samis.data import dataset_label
from samis.data.configured import label_of
from samis.errors import UserError
from samis.evaluation.row_files import RowNames
from samis.jobs.cost import add_costs
from samis.jobs.score import score_and_save, show

BASE = [
    "prompt.kind=empty",
    "segmenter.mask_rule=single",
    "frame.frame_px=64",
    "metrics.bootstrap=0",
    "cache.embeddings=never",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two folders of photos, of other content; each has one photo with a square defect."""
    for number, name in enumerate(("first", "second")):
        image, mask = np.full((40, 48, 3), 90 + 40 * number, np.uint8), np.zeros((40, 48), np.uint8)
        mask[8:20, 10:30] = 255
        image[mask > 0] = 20
        for kind, values in (("images", image), ("masks", mask)):
            (tmp_path / name / "test" / kind).mkdir(parents=True)
            Image.fromarray(values).save(tmp_path / name / "test" / kind / "a.png")
    return tmp_path


def save(photos: Path, root: str = "first", *overrides: str, **options):
    data = ["data.name=folder", f"data.root={photos / root}"]
    config = apply_overrides(Experiment(), [*BASE, *data, *overrides])
    rows = score_and_save(config, split="test", out=photos / "rows", **{"name": "SAM", **options})
    show(rows, options.get("maps"))
    return rows


def files(photos: Path) -> set[str]:
    return {path.stem for path in (photos / "rows").glob("*.json")}


def test_each_protocol_noise_folder_and_label_has_a_file_of_its_own(photos, capsys):
    save(photos, maps=photos / "maps")
    printed = capsys.readouterr().out
    assert f"{photos}/rows/folder_first-test-SAM.json; maps: {photos}/maps/folder_first-test-SAM/" in printed
    save(photos, "first", "metrics.protocol=published", maps=photos / "maps")
    save(photos, "first", "data.salt_pepper=0.1", maps=photos / "maps")
    save(photos, "second", maps=photos / "maps")
    save(photos, "second", "data.label=castings, line 2", maps=photos / "maps")
    expected = {
        "folder_first-test-SAM", "folder_first-test-SAM-published", "folder_first-test_+10_salt-and-pepper-SAM",
        "folder_second-test-SAM", "castings_line_2-test-SAM",
    }  # fmt: skip
    assert files(photos) == expected == {path.name for path in (photos / "maps").iterdir()}
    row = json.loads((photos / "rows" / "castings_line_2-test-SAM.json").read_text())
    assert row["dataset"] == "castings, line 2" and row["directions"]["mae"] == -1
    assert set(row["metrics"]) <= set(row["directions"])


def test_the_same_again_is_refused_unless_asked_for(photos):
    save(photos)
    path = photos / "rows" / "folder_first-test-SAM.json"
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"folder_first-test-SAM\.json: .*--overwrite.*E-ROW-EXISTS"):
        save(photos)
    assert path.read_bytes() == before
    save(photos, overwrite=True)
    assert path.read_bytes() != before or json.loads(before)["name"] == "SAM"


@pytest.mark.parametrize(
    ("root", "overrides", "word"),
    [
        ("second", ["data.label=mine"], "data fingerprint is"),
        ("first", ["data.label=mine", "frame.frame_px=128"], "frame.frame_px is 64 there, 128 here"),
        ("first", ["data.label=mine", "segmenter.weights=random"], "sha256 of the weights is"),
        ("first", ["data.label=mine", "segmenter.min_iou=0.5"], "segmenter.min_iou is 0.88 there, 0.5 here"),
        ("first", ["data.label=mine", "metrics.names=[mae]"], "metrics.names is [] there, ['mae'] here"),
    ],
)
def test_another_row_of_the_same_name_is_refused_with_what_differs(photos, root, overrides, word):
    save(photos, "first", "data.label=mine")
    with pytest.raises(UserError, match="E-ROW-EXISTS") as caught:
        save(photos, root, *overrides)
    assert word in str(caught.value) and "\n" not in str(caught.value)
    assert files(photos) == {"mine-test-SAM"}


def test_maps_of_another_scoring_are_not_replaced(photos):
    save(photos, maps=photos / "maps")
    with pytest.raises(UserError, match=r"maps.*E-ROW-EXISTS"):
        config = apply_overrides(Experiment(), [*BASE, "data.name=folder", f"data.root={photos / 'first'}"])
        score_and_save(config, split="test", out=photos / "elsewhere", name="SAM", maps=photos / "maps")
    assert not (photos / "elsewhere").exists()


def test_names_made_from_the_config_say_frame_tiles_and_weights(photos):
    save(photos, name=None)
    save(photos, "first", "frame.frame_px=128", name=None)
    save(photos, "first", "frame.tile_px=32", "segmenter.weights=random", name=None)
    names = {
        json.loads(path.read_text())["name"].partition(" zero-shot, ")[2] for path in (photos / "rows").glob("*.json")
    }
    assert names == {
        "empty, frame 64 px", "empty, frame 128 px", "empty, random weights, frame 64 px, tiles 32 px"
    }  # fmt: skip


def test_own_data_is_called_by_its_label_or_folder():
    assert dataset_label("folder", {}, root="/data/castings") == "folder (castings)"
    assert dataset_label("coco", {"seed": 3}, root="a/b", label="castings") == "castings (seed=3)"
    assert dataset_label("rsdds", {}, root="/elsewhere/rsdds") == "rsdds"
    config = Experiment()
    config.data.label = " "
    with pytest.raises(UserError, match=r"data\.label"):
        label_of(config.data)


def test_a_row_says_what_an_image_costs_and_old_rows_can_be_given_it(photos, capsys):
    save(photos)
    path = photos / "rows" / "folder_first-test-SAM.json"
    row = json.loads(path.read_text())
    cost = row["cost"]
    assert (
        cost["parameters"] > 5_000_000 and cost["multiply_adds"] > 1e8 and cost["timed_images"] == 1 and cost["device"]
    )
    assert "one image: parameters 5." in capsys.readouterr().out
    del row["cost"]  # as rows were before
    path.write_text(json.dumps(row))
    table = path.with_suffix(".csv").read_bytes()
    (line,) = add_costs([path], latency=False)
    after = json.loads(path.read_text())
    assert line.endswith(" M parameters") and path.with_suffix(".csv").read_bytes() == table
    assert {key: after["cost"][key] for key in ("parameters", "multiply_adds", "views", "frame_px")} == {
        key: cost[key] for key in ("parameters", "multiply_adds", "views", "frame_px")
    }
    assert "p50_ms" not in after["cost"] and after | {"cost": 0} == row | {"cost": 0}
    assert "has a cost already" in next(iter(add_costs([path])))


def test_latency_can_be_switched_off(photos):
    save(photos, "first", "metrics.latency=false")
    cost = json.loads((photos / "rows" / "folder_first-test-SAM.json").read_text())["cost"]
    assert cost["multiply_adds"] > 1e8 and "p50_ms" not in cost and "device" not in cost


def test_a_row_of_other_images_gets_no_cost(photos):
    save(photos)
    path = photos / "rows" / "folder_first-test-SAM.json"
    Image.fromarray(np.full((40, 48, 3), 1, np.uint8)).save(photos / "first" / "test" / "images" / "a.png")
    row = json.loads(path.read_text())
    del row["cost"]
    path.write_text(json.dumps(row))
    (line,) = add_costs([path])
    assert "another data fingerprint" in line and "cost" not in json.loads(path.read_text())


def test_saved_maps_bear_what_is_stated(photos):
    maps = photos / "MINet-TII2024"
    maps.mkdir()
    Image.fromarray(np.full((40, 48), 200, np.uint8)).save(maps / "a.png")
    save(photos, "first", "segmenter.name=saved_maps", f"segmenter.maps={maps}", name=None)
    path = photos / "rows" / "folder_first-test-MINet-TII2024.json"
    row = json.loads(path.read_text())
    assert (
        row["cost"]["parameters"] == 280_000 and "Kunye-Shen" in row["cost"]["source"] and "p50_ms" not in row["cost"]
    )
    before = row.pop("cost")
    path.write_text(json.dumps(row))
    next(iter(add_costs([path])))
    assert json.loads(path.read_text())["cost"] == before


def test_a_folder_of_maps_is_scored_on_any_split_and_half_of_one_is_refused(photos):
    train = photos / "first" / "train"
    for name in ("b", "c"):
        for kind, level in (("images", 90), ("masks", 0)):
            (train / kind).mkdir(parents=True, exist_ok=True)
            values = np.full((40, 48), level, np.uint8)
            values[5:20, 5:20] = 255
            Image.fromarray(values).save(train / kind / f"{name}.png")
    maps = photos / "A"
    maps.mkdir()
    Image.fromarray(np.full((40, 48), 200, np.uint8)).save(maps / "b.png")
    data = ["data.name=folder", f"data.root={photos / 'first'}", "segmenter.name=saved_maps", f"segmenter.maps={maps}"]
    config = apply_overrides(Experiment(), [*BASE, *data])
    with pytest.raises(UserError, match=r"A: .* 1 missing: c; .*E-MAP-MISSING"):
        score_and_save(config, split="train", out=photos / "rows", name=None)
    assert not (photos / "rows").exists()
    Image.fromarray(np.full((40, 48), 100, np.uint8)).save(maps / "c.png")
    (row,) = score_and_save(config, split="train", out=photos / "rows", name=None).values()
    assert (row.name, row.split, row.n_images) == ("A", "train", 2) and files(photos) == {"folder_first-train-A"}


def test_noise_levels_that_print_alike_have_rows_of_their_own(photos):
    for share in ("0.1", "0.104"):
        save(photos, "first", f"data.salt_pepper={share}", "metrics.latency=false")
    assert files(photos) == {f"folder_first-test_+{n}_salt-and-pepper-SAM" for n in ("10", "10.4")}


@pytest.mark.parametrize("label", ["..", ".hidden", "a/b"])
def test_a_rows_file_is_never_hidden(label):
    """A name that begins with a dot is passed over by a listing and by patterns."""
    assert not RowNames("m", label, "test", "pysod").stem().startswith((".", "-"))
