"""Score rows survive the disk, and refuse what is none."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from samis.core.files import write_atomic
from samis.evaluation.row_files import identity
from samis.evaluation.rows import best_row, read_measured
from samis.evaluation.score_row import ScoreRow, direction, read_row, rows_of_training


def make(**changes) -> ScoreRow:
    fields = {
        "name": "SAM, grid",
        "kind": "zero_shot",
        "dataset": "steel",
        "split": "test",
        "n_images": 2,
        "prompt": "grid",
        "mask_rule": "contrast",
        "oracle": False,
        "protocol": "pysod",
        "metrics": {"s_measure": 0.5, "mae": 1 / 3},
        "directions": {"s_measure": 1, "mae": -1},
        "intervals": {"s_measure": [0.4, 0.6]},
        "per_class": {"a": {"s_measure": 0.5, "n_images": 2}},
        "curves": {"precision": [0.0, 1.0]},
        "clean": {"n_images": 1, "false_positive_area": 0.0, "kept_clean": 1.0},
        "empty_maps": 1,
        "provenance": {"data_fingerprint": "abc", "versions": {"torch": "2"}},
        "images": [
            {"id": 'a,"b"', "class_name": "a", "s_measure": 0.123456789},
            {"id": "c", "class_name": "a", "s_measure": 1.0},
        ],
    }
    return ScoreRow(**(fields | changes))


def test_there_and_back(tmp_path):
    row = make()
    path = row.save(tmp_path / "deep" / "row.json")
    back = read_row(path)
    assert back.metrics == {"s_measure": 0.5, "mae": 0.33333333}
    table = path.with_suffix(".csv")
    assert back.provenance.pop("images_sha256") == hashlib.sha256(table.read_bytes()).hexdigest()
    row.images, row.metrics, back.metrics = [], {}, {}
    assert back == row
    assert sorted(p.name for p in path.parent.iterdir()) == ["row.csv", "row.json"]


def test_images_go_to_the_csv_not_into_the_json(tmp_path):
    path = make().save(tmp_path / "row.json")
    assert "images" not in json.loads(path.read_text())
    with open(path.with_suffix(".csv"), newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0] == {"id": 'a,"b"', "class_name": "a", "s_measure": "0.123457"}


def test_saving_twice_gives_the_same_bytes(tmp_path):
    assert make().save(tmp_path / "a.json").read_bytes() == make().save(tmp_path / "b.json").read_bytes()


def test_what_must_agree():
    assert make().table == ("steel", "test", "pysod", False, "abc")
    assert make(provenance={}).table[-1] == ""


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="E-ROW-FORMAT"):
        make(kind="magic")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "a", "metrics": {}, "dataset": "b", "extra": 1}'])
def test_a_file_that_is_no_row_is_named(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json"):
        read_row(tmp_path / "odd.json")


def test_a_folder_is_read_in_order_with_its_subfolders(tmp_path):
    for name in ("b/x.json", "a.json"):
        make(name=name).save(tmp_path / name)
    assert [row.name for row in read_measured([tmp_path]).values()] == ["a.json", "b/x.json"]
    with pytest.raises(ValueError, match=r"E-(ROW-MISSING|FILE-UNREADABLE)"):
        read_measured([tmp_path / "nothing"])


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_atomic(target, "old")

    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr("samis.core.files.os.replace", broken)
    with pytest.raises(OSError, match="no space"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in Path(tmp_path).iterdir()] == ["a.txt"]


@pytest.mark.parametrize("directions", [None, {"s_measure": 1}, {"s_measure": 1, "mae": 0}])
def test_a_row_that_does_not_say_which_way_is_better_is_refused(tmp_path, directions):
    path = make().save(tmp_path / "old.json")
    content = json.loads(path.read_text())
    del content["directions"]
    path.write_text(json.dumps(content | ({"directions": directions} if directions else {})))
    with pytest.raises(ValueError, match=r"old\.json: .*E-ROW-DIRECTION"):
        read_row(path)


def test_directions_of_rows_agree(tmp_path):
    assert direction("mae", [make(), make(directions={})]) == -1
    with pytest.raises(ValueError, match=r"mae.*E-ROW-DIRECTION"):
        direction("mae", [make(), make(directions={"mae": 1})])
    with pytest.raises(ValueError, match="E-ROW-DIRECTION"):
        direction("iou", [make()])


def test_a_row_of_maps_that_say_nothing_is_degenerate():
    counts = [(0, 0), (1, 0), (2, 0), (0, 2), (1, 1)]
    result = [make(empty_maps=empty, full_maps=full).degenerate for empty, full in counts]
    assert result == ["", "", "all maps empty", "all maps full", "maps empty or full"]


def test_a_file_that_is_no_row_does_not_hide_those_of_a_training(tmp_path, capsys):
    training = {"command": "adapt.py", "validation": {"mae": 1 / 3}}
    for place in ("a", "b"):
        make(provenance={"training": training}).save(tmp_path / place / "row.json")
    (tmp_path / "a" / "broken.json").write_text("{")
    result = rows_of_training([tmp_path / "a", tmp_path / "b", tmp_path / "none"], training)
    assert len(result) == 2 and "broken.json" in capsys.readouterr().err


def test_a_budget_is_kept_and_another_word_is_told(tmp_path):
    row = ScoreRow(
        "a", "baseline", "mt", "test", 1, "none", None, False, "pysod", {"mae": 0.1}, {"mae": -1}, budget="short"
    )
    assert read_row(row.save(tmp_path / "a.json")).budget == "short"
    with pytest.raises(ValueError, match=r"'long'.*E-ROW-FORMAT"):
        dataclasses.replace(row, budget="long")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True])
def test_a_metric_that_is_no_finite_number_is_refused(tmp_path, value):
    path = make().save(tmp_path / "odd.json")
    content = json.loads(path.read_text())
    metric = next(iter(content["metrics"]))
    content["metrics"][metric] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"odd\.json: .*{metric}.*E-ROW-VALUE"):
        read_row(path)


def test_a_row_whose_maps_are_flat_on_defects_is_marked_and_never_the_best(make_row, tmp_path):
    blank = make_row("tuned", {"mae": [0.01, 0.01]}, name="blank", flat_on_defects=True, empty_maps=1)
    other = make_row("tuned", {"mae": [0.2, 0.2]}, name="other")
    assert blank.degenerate == "maps of all defects empty or full" and not other.degenerate
    assert best_row([blank, other], "mae", ("tuned",)) is other
    assert read_row(blank.save(tmp_path / "row.json")).flat_on_defects


def test_an_overlap_of_a_third_is_the_same_in_a_rows_file_and_in_a_config():
    config = {"frame": {"overlap": 1 / 3}, "metrics": {"batch_size": 4}}
    assert identity({}, config)["frame.overlap"] == 0.33333333 and "metrics.batch_size" not in identity({}, config)
