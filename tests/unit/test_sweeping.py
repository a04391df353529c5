"""``samis.sweeping``: the points of a search, and Optuna's study of trials that a small stand-in script trains."""

import json
import subprocess
import sys

import pytest

from samis.config import Experiment
from samis.errors import ConfigError
from samis.sweeping import page, study, trial
from samis.sweeping.points import Range, folder_name, overrides_of, parse_axes, plan, study_name

TRAINER = """
import json, sys, time
from pathlib import Path
folder, keys = Path(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:])
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "launched", "a") as file:
    file.write("x")
if keys["a"] == "bad" and not (folder.parent / "mended").exists():
    sys.exit("error: a: expected a number, got bad")
level = {"bad": 0.0}.get(keys["a"], float(len(keys["a"])))
lines = []
for epoch in range(1, 5):
    best = level - (epoch - 3) ** 2 / 100
    lines.append(json.dumps({"epoch": epoch, "best": True, "metrics": {"iou": best, "mae": -best}}))
    (folder / ".new").write_text("\\n".join(lines) + "\\n")
    (folder / ".new").rename(folder / "validation.jsonl")
    time.sleep(float(keys.get("pause", 0)))
(folder / "whole").touch()
"""
"""Its best epoch is the third; `a` sets how good a trial is by its length."""


def objective(folder, axes, metric="iou", *extra, **options):
    def command(overrides, place):
        return [sys.executable, "-c", TRAINER, str(place), *overrides, *extra]

    return trial.Objective(axes, command, folder, metric, metric == "iou", poll_s=0.05, **options)


def search(folder, axes, *, points=None, count=0, metric="iou", extra=(), **options):
    """Work on the study to its end; return (ranked trials, lines said)."""
    printed = []
    made = objective(folder, axes, metric, *extra, **options)
    with study.opened(folder, "test", higher_is_better=metric == "iou") as result:
        study.work(result, made, plan(axes) if points is None else points, count=count, say=printed.append)
        return page.ranked(result), printed


def launches(folder):
    return {path.parent.name: len(path.read_text()) for path in folder.glob("*/launched")}


def test_a_grid_is_every_combination():
    points = plan({"a": ["1", "2"], "b": ["x", "y", "z"]})
    assert [overrides_of(point) for point in points] == [[f"a={a}", f"b={b}"] for a in "12" for b in "xyz"]


def test_a_random_draw_repeats_by_seed_and_never_repeats_a_point():
    axes = {"a": [str(i) for i in range(5)], "b": [str(i) for i in range(5)]}
    first, again, other = (plan(axes, draws=6, seed=s) for s in (0, 0, 1))
    assert first == again != other and len({str(point) for point in first}) == 6
    assert len(plan(axes, draws=99)) == 25


def test_points_of_a_range_are_within_it_on_its_scale():
    axes, fixed = parse_axes(["optim.lr=1e-4..1e-2", "adapter.rank=2..9", "seed=1", "adapter.dropout=0,0.1"])
    assert axes == {
        "optim.lr": Range(1e-4, 1e-2, False), "adapter.rank": Range(2, 9, True), "adapter.dropout": ["0", "0.1"]
    }  # fmt: skip
    assert fixed == ["seed=1"]
    rates = sorted(point["optim.lr"] for point in plan(axes, draws=200))
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-2 and 5e-4 < rates[100] < 2e-3, "half lie below the geometric mean"
    assert {point["adapter.rank"] for point in plan(axes, draws=200)} == set(range(2, 10))


@pytest.mark.parametrize(
    "wrong", [["a"], ["a="], ["a=1,,2"], ["a=1,1"], ["a=1,2", "a=3"], ["=1,2"], ["a=2..1"], ["a=1..e5"], ["a=1"], []]
)
def test_mistakes_are_told(wrong):
    with pytest.raises(ConfigError, match=r"E-SWEEP-(KEYS|RANGE)"):
        parse_axes(wrong)


def test_a_range_has_no_grid():
    with pytest.raises(ConfigError, match="E-SWEEP-RANGE"):
        plan({"optim.lr": Range(1, 2, False)})


def test_folder_names_differ_where_trials_do():
    assert folder_name(["a=[q,v]"]) != folder_name(["a=[q-v]"])
    assert len(folder_name(["key=" + "x" * 300])) < 120 and "/" not in folder_name(["a=../../b"])


def test_a_study_is_another_one_where_a_fixed_key_may_change_results():
    from dataclasses import replace

    base, axes = Experiment(experiment="x"), {"optim.lr": ["1", "2"]}
    name = study_name(base, axes)
    assert name != study_name(replace(base, seed=7), axes) and name != study_name(base, {"optim.lr": ["1", "3"]})
    assert name == study_name(replace(base, optim=replace(base.optim, lr=0.5)), axes), "searched, not fixed"
    assert name == study_name(replace(base, data=replace(base.data, root="/other/machine")), axes)


@pytest.mark.parametrize("metric", ["iou", "mae"])
def test_the_best_epoch_counts_and_the_order_follows_the_metric(tmp_path, metric):
    ranked, printed = search(tmp_path, {"a": ["x", "xxx", "xx"]}, metric=metric)
    assert [t.user_attrs["overrides"] for t in ranked] == [["a=xxx"], ["a=xx"], ["a=x"]]
    assert ranked[0].user_attrs["epoch"] == 3 and abs(ranked[0].value) == 3.0
    assert ranked[0].intermediate_values.keys() == {1, 2, 3, 4}, "each validation is reported"
    assert printed[0] == f"trial 1: a=x: {metric} {ranked[2].value:.4f} at epoch 3"


def test_the_same_command_trains_only_what_is_left_and_failures_have_their_reason(tmp_path):
    axes = {"a": ["x", "bad", "xx"]}
    ranked, printed = search(tmp_path, axes)
    assert [t.state.name for t in ranked] == ["COMPLETE", "COMPLETE", "FAIL"]
    reason = ranked[-1].user_attrs["reason"]
    assert reason.startswith("exit code 1: error: a: expected a number, got bad (") and reason in "\n".join(printed)
    assert launches(tmp_path) == {"a=x": 1, "a=bad": 1, "a=xx": 1}, "a failure ends its trial, not the study"
    (tmp_path / "mended").touch()
    ranked, _ = search(tmp_path, axes)
    assert [t.state.name for t in ranked] == ["COMPLETE"] * 3
    assert launches(tmp_path) == {"a=x": 1, "a=bad": 2, "a=xx": 1}


def test_a_trial_below_the_median_ends_early_and_stays_ended(tmp_path):
    axes = {"a": ["xxxx", "xxxxx", "xxxxxx", "xxxxxxx", "x"]}
    ranked, printed = search(tmp_path, axes, extra=["pause=0.2"])
    assert [t.state.name for t in ranked] == ["COMPLETE"] * 4 + ["PRUNED"]
    assert not (tmp_path / "a=x" / "whole").exists() and "pruned after epoch" in printed[-1]
    search(tmp_path, axes)
    assert set(launches(tmp_path).values()) == {1}
    ranked, _ = search(tmp_path / "other", axes, prune=False)
    assert [t.state.name for t in ranked] == ["COMPLETE"] * 5


def test_two_processes_share_a_study(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
from pathlib import Path
import test_sweeping as t
ranked, said = t.search(Path({str(tmp_path)!r}), {{"a": ["x" * n for n in range(1, 5)]}}, extra=["pause=0.1"])
print(len(ranked), sum(line.startswith("trial") for line in said))
"""
    workers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    caught = [list(map(int, worker.communicate(timeout=120)[0].split())) for worker in workers]
    assert [count for count, _ in caught] == [4, 4], "each sees the whole study"
    assert sum(own for _, own in caught) == 4 and set(launches(tmp_path).values()) == {1}, "each point is trained once"


def test_the_trial_of_a_machine_that_died_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_HEARTBEAT_S", 1)
    monkeypatch.setattr(study, "_GONE_AFTER_S", 1)
    axes = {"a": ["x", "xx"]}
    with study.opened(tmp_path, "test", higher_is_better=True) as result:
        study.queue(result, plan(axes), failed=True)
        with pytest.warns(UserWarning, match="Heartbeat"):
            left = result.ask()
        result._storage.record_heartbeat(left._trial_id)
    ranked, _ = search(tmp_path, axes)
    assert [t.user_attrs["overrides"] for t in ranked] == [["a=xx"], ["a=x"]]
    assert launches(tmp_path) == {"a=x": 1, "a=xx": 1}


def test_optuna_chooses_points(tmp_path):
    ranked, _ = search(tmp_path, {"a": ["x", "xx"], "b": Range(1e-3, 1.0, False)}, points=[], count=3)
    assert len(ranked) == 3
    for place in ranked:
        written = dict(word.split("=") for word in place.user_attrs["overrides"])
        assert 1e-3 <= float(written["b"]) <= 1.0 and (tmp_path / folder_name(place.user_attrs["overrides"])).is_dir()


def test_failures_do_not_go_on_for_ever_where_optuna_chooses(tmp_path):
    ranked, printed = search(tmp_path, {"a": ["bad"], "b": Range(0, 1, False)}, points=[], count=2)
    assert [t.state.name for t in ranked] == ["FAIL"] * 2 and len(printed) == 2


def test_the_page_and_the_table_show_every_trial(tmp_path):
    search(tmp_path, {"a": ["bad", "xxx"], "b": ["<1>", "2"]})
    with study.opened(tmp_path, "test", higher_is_better=True) as result:
        html = page.render(result, "iou", title="Sweep", command="samis train x.yaml 'a=xxx'")
        assert "a=xxx b=2" in html and "<1>" not in html and "&lt;1&gt;" in html
        assert html.count("<polyline") == 2, "a curve for each trial with validations"
        assert "expected a number, got bad" in html and "Importance" in html
        assert "Best on validation: a=xxx" in html and "3.0000 at epoch 3" in html
        lines = page.text_table(result, "iou").splitlines()
        assert len(lines) == 5 and lines[1].startswith("a=xxx") and "failed: exit code 1" in lines[-1]
        assert [line["epoch"] for line in json.loads(json.dumps(page.record(result)))] == [3, 3, None, None]


def test_a_metric_that_validation_lacks_and_a_damaged_record_are_reasons(tmp_path):
    ranked, _ = search(tmp_path, {"a": ["x"]}, metric="s_measure")
    assert "keep_best: expected one of the validation's metrics (iou, mae)" in ranked[0].user_attrs["reason"]
    (tmp_path / "validation.jsonl").write_text("{")
    with pytest.raises(ConfigError, match="E-SWEEP-RECORD"):
        trial.read_validations(tmp_path)
    assert trial.read_validations(tmp_path / "none") == []


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/study.db", "nodriver://me:se@cret@host/name"])
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(tmp_path, url):
    with (
        pytest.raises(ConfigError, match="E-SWEEP-STORAGE") as caught,
        study.opened(tmp_path, "test", url=url, higher_is_better=True),
    ):
        pass
    assert "\n" not in str(caught.value) and "cret" not in str(caught.value)


def test_help_does_not_wait_for_optuna():
    code = "import sys, samis.jobs.sweep; sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
