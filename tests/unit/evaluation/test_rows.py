"""Rows come back with their per-image rows, in groups that may be compared."""

from __future__ import annotations

import pytest

from samis.evaluation.rows import best_row, choose, group_rows, read_images, read_measured, title


def test_reads_rows_with_their_images(saved_rows):
    rows = read_measured([saved_rows])
    assert [path.stem for path in rows] == ["baseline", "tuned", "zero_shot"]
    tuned = next(row for row in rows.values() if row.kind == "tuned")
    assert tuned.images[0] == {"id": "i0", "class_name": "scratch", "s_measure": 0.75, "mae": 0.1}


def test_a_file_named_twice_is_read_once(saved_rows):
    assert len(read_measured([saved_rows / "tuned.json", saved_rows])) == 3


def test_an_id_that_looks_like_a_number_stays_text(tmp_path):
    (tmp_path / "a.csv").write_text("id,class_name,mae\n007,1,0.5\n8,2,\n")
    assert read_images(tmp_path / "a.csv") == [
        {"id": "007", "class_name": "1", "mae": 0.5},
        {"id": "8", "class_name": "2"},
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name,mae\na,1\n", "id.*E-ROW-IMAGES"),
        ("id,mae\na,1\na,2\n", "twice.*E-ROW-IMAGES"),
        ("id,mae\na\n", "line 2.*E-ROW-IMAGES"),
        ("id,mae\na,1,2\n", "line 2.*E-ROW-IMAGES"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, word):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=word):
        read_images(tmp_path / "a.csv")


def test_bad_places_are_refused(tmp_path):
    with pytest.raises(ValueError, match="E-ROW-MISSING"):
        read_measured([tmp_path])
    with pytest.raises(ValueError, match="E-ROW-MISSING"):
        read_measured([tmp_path / "missing.json"])
    (tmp_path / "half.json").write_text('{"name": "a", "metrics": {}, "dataset": "b"}')
    with pytest.raises(ValueError, match=r"half\.json"):
        read_measured([tmp_path])


def test_a_row_of_an_unknown_kind_is_named(make_row, tmp_path):
    path = make_row().save(tmp_path / "odd.json")
    path.write_text(path.read_text().replace('"kind": "zero_shot"', '"kind": "magic"'))
    with pytest.raises(ValueError, match=r"odd\.json.*'magic'.*E-ROW-FORMAT"):
        read_measured([path])


def test_rows_of_one_name_are_told_apart(make_row, tmp_path):
    for stem, split in (("a", "test"), ("b", "test"), ("c", "val")):
        make_row("tuned", {"mae": [0.1, 0.2]}, name="LoRA", split=split).save(tmp_path / f"{stem}.json")
    assert [row.name for row in read_measured([tmp_path]).values()] == ["LoRA (a)", "LoRA (b)", "LoRA"]


def test_groups_share_data_and_put_test_first(make_row):
    rows = [
        make_row(split="a_val"),
        make_row(),
        make_row(oracle=True),
        make_row(protocol="published"),
        make_row(provenance={"data_fingerprint": "0"}),
    ]
    groups = group_rows(rows)
    assert [len(group) for group in groups.values()] == [1, 1, 2, 1]
    assert [key[1] for key in groups] == ["test", "test", "test", "a_val"]
    key = next(key for key in groups if key[2] == "published")
    assert title(key, rows) == "steel (test, 2 images)"
    assert title(key, rows, ambiguous=True) == "steel (test, 2 images, protocol published, data ffffffff)"


def test_chooses_the_best_of_each_kind_in_the_right_direction(make_row):
    rows = [
        make_row("zero_shot", metrics={"s_measure": 0.5, "mae": 0.2}, name="a"),
        make_row("zero_shot", metrics={"s_measure": 0.6, "mae": 0.3}, name="b"),
        make_row("zero_shot", metrics={"s_measure": 0.9, "mae": 0.0}, name="oracle", oracle=True),
        make_row("tuned", metrics={"s_measure": 0.7}, name="c"),
        make_row("tuned", metrics={"s_measure": 0.8}, name="d"),
        make_row("baseline", metrics={"s_measure": 0.85}, name="e"),
        make_row("saved_maps", metrics={"s_measure": 0.88}, name="f"),
    ]
    assert [row.name for row in choose(rows, "s_measure").present] == ["b", "d", "f"]
    assert [row.name for row in choose(rows, "s_measure", tuned="c").present] == ["b", "c", "f"]
    chosen = choose(rows, "mae")
    assert chosen.zero_shot.name == "a" and chosen.tuned is None and chosen.best is None
    with pytest.raises(ValueError, match="E-ROW-SEVERAL"):
        choose([*rows, make_row(split="val")], "s_measure")


def test_a_row_that_answers_nothing_is_never_the_best(make_row):
    nothing = make_row(values={"mae": [0.01, 0.01]}, name="nothing", empty_maps=2)
    something = make_row(values={"mae": [0.05, 0.05]}, name="something", empty_maps=1)
    assert choose([nothing, something], "mae").zero_shot is something


@pytest.mark.parametrize(("metric", "chosen"), [("mae", "LoRA, draw 2"), ("s_measure", "LoRA, draw 1")])
def test_of_two_repeats_the_worse_stands_for_both_whichever_way_is_better(make_row, metric, chosen):
    rows = [
        make_row("tuned", {"mae": [0.1], "s_measure": [0.6]}, name="LoRA, draw 1"),
        make_row("tuned", {"mae": [0.2], "s_measure": [0.7]}, name="LoRA, draw 2"),
    ]
    best = best_row(rows, metric, ("tuned",))
    assert best is not None and best.name == chosen
