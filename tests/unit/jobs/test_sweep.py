import json

import pytest

from samis.config import ConfigError
from samis.jobs.sweep import Result, Trial, folder_name, parse_axes, plan, ranked, read_result, table


def test_a_grid_is_every_combination(tmp_path):
    trials = plan({"a": ["1", "2"], "b": ["x", "y", "z"]}, tmp_path)
    assert [t.overrides for t in trials] == [(f"a={a}", f"b={b}") for a in "12" for b in "xyz"]
    assert len({t.folder for t in trials}) == 6


def test_a_random_draw_repeats_by_seed_and_never_repeats_a_point(tmp_path):
    axes = {"a": [str(i) for i in range(5)], "b": [str(i) for i in range(5)]}
    first, again, other = (plan(axes, tmp_path, draws=6, seed=s) for s in (0, 0, 1))
    assert first == again != other and len(set(first)) == 6
    assert len(plan(axes, tmp_path, draws=99)) == 25


@pytest.mark.parametrize("wrong", [["a"], ["a="], ["a=1,,2"], ["a=1,1"], ["a=1,2", "a=3"], ["=1,2"]])
def test_mistakes_are_told(wrong):
    with pytest.raises(ConfigError, match="expected"):
        parse_axes(wrong)


def test_nothing_to_search():
    with pytest.raises(ConfigError, match="several values"):
        plan({}, None)


def test_folder_names_differ_where_trials_do():
    assert folder_name(["a=[q,v]"]) != folder_name(["a=[q-v]"])
    assert len(folder_name(["key=" + "x" * 300])) < 120 and "/" not in folder_name(["a=../../b"])


def finished(folder, values):
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text("{}")
    lines = [{"epoch": n + 1, "best": best, "metrics": {"iou": v, "mae": 1 - v}} for n, (v, best) in enumerate(values)]
    (folder / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Trial((folder.name,), folder)


def test_the_best_epoch_counts_and_the_order_follows_the_metric(tmp_path):
    good = finished(tmp_path / "good", [(0.5, True), (0.9, True), (0.7, False)])
    poor = finished(tmp_path / "poor", [(0.6, True)])
    results = [read_result(poor), read_result(good)]
    assert results[1] == Result(good, 2, {"iou": 0.9, "mae": pytest.approx(0.1)})
    assert [r.trial for r in ranked(results, "iou")] == [good, poor] == [r.trial for r in ranked(results, "mae")]
    assert "good" in table(ranked(results, "iou"), ["iou"]).splitlines()[1]
    with pytest.raises(ConfigError, match="keep_best"):
        ranked(results, "s_measure")


def test_an_unfinished_trial_has_no_result_and_a_damaged_one_is_told(tmp_path):
    assert read_result(Trial(("a=1",), tmp_path / "none")) is None
    trial = finished(tmp_path / "bad", [(0.5, True)])
    (trial.folder / "validation.jsonl").write_text("{")
    with pytest.raises(ConfigError, match="delete the folder"):
        read_result(trial)
