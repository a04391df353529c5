from typing import ClassVar

import numpy as np
import pytest
import torch
from py_sod_metrics import MAE, Smeasure
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from samis.core.contracts import Batch
from samis.core.geometry import place
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.metrics import METRICS, directions_of, numbers_of


class Given:
    """Answers with maps drawn beforehand."""

    def __init__(self, maps):
        self.maps = maps

    def predict(self, batch):
        return [torch.from_numpy(self.maps[sample_id]) for sample_id in batch.ids]

    def describe(self):
        return {}


def batches(truths, size):
    ids = sorted(truths)
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        placements = [place(truths[i].shape, (0, 0, *truths[i].shape[::-1]), 16, sample=k) for k, i in enumerate(part)]
        names = ["clean" if not truths[i].any() else f"kind_{int(i[-1]) % 2}" for i in part]
        yield Batch(
            part, torch.zeros(len(part), 3, 16, 16), placements, class_names=names, truths=[truths[i] for i in part]
        )


class Again:
    def __init__(self, truths, size):
        self.truths, self.size = truths, size

    def __iter__(self):
        return batches(self.truths, self.size)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    truths = {f"image_{k}": np.zeros((20 + k, 33), bool) for k in range(7)}
    maps = {}
    for k, (sample_id, truth) in enumerate(truths.items()):
        if k != 3:
            truth[4:12, 5 + k : 20] = True
        maps[sample_id] = np.clip(truth * 0.7 + rng.uniform(0, 0.3, truth.shape), 0, 1).astype(np.float32)
    maps["image_3"][:] = 0
    maps["image_3"][:2] = 0.9
    return truths, maps


def evaluate(truths, maps, *, size=3, **options):
    return Evaluator(Again(truths, size), sorted(truths), **options)(Given(maps))


def test_numbers_are_the_references(drawn):
    truths, maps = drawn
    mae, s_measure = MAE(), Smeasure()
    for sample_id, truth in truths.items():
        if truth.any():
            map_u8 = np.floor(maps[sample_id].astype(float) * 255 + 0.5).astype(np.uint8)
            mae.step(map_u8, truth.astype(np.uint8) * 255)
            s_measure.step(map_u8, truth.astype(np.uint8) * 255)
    result = evaluate(truths, maps)
    assert result.metrics["mae"] == pytest.approx(mae.get_results()["mae"], abs=1e-9)
    assert result.metrics["s_measure"] == pytest.approx(s_measure.get_results()["sm"], abs=1e-9)


def test_clean_images_stand_apart(drawn):
    result = evaluate(*drawn)
    assert result.clean == {
        "n_images": 1.0, "threshold": 0.5, "false_positive_area": pytest.approx(2 / 23), "kept_clean": 0.0,
        "defect_recall": 1.0, "image_auroc": 1.0,
    }  # fmt: skip
    assert len(result.images) == 7
    assert sum(entry["n_images"] for entry in result.per_class.values()) == 6
    assert "clean" not in result.per_class


def test_clean_images_beside_a_split_leave_its_metrics_alone(drawn):
    """By scikit-learn and plain loops; the metrics over defective images are the same to the bit."""
    truths, maps = drawn
    rng = np.random.default_rng(1)
    more = {f"photo_{k}": np.zeros((15, 11), bool) for k in range(6)}
    more_maps = {key: (rng.random((15, 11)) * (0.4 + 0.1 * k)).astype(np.float32) for k, key in enumerate(more)}
    more_maps["photo_0"][:] = 0
    maps["image_5"] *= 0.5  # nothing above 0.6, so not found
    alone = evaluate(truths, maps, bootstrap=50, threshold=0.6)
    result = evaluate(truths | more, maps | more_maps, bootstrap=50, threshold=0.6, apart=more)
    assert (result.metrics, result.intervals, result.per_class) == (alone.metrics, alone.intervals, alone.per_class)
    assert (alone.empty_maps, result.empty_maps) == (0, 0)
    bytes_of = {key: np.floor(values.astype(float) * 255 + 0.5) for key, values in (maps | more_maps).items()}
    called = {key: values / 255 > 0.6 for key, values in bytes_of.items()}
    clean = [key for key, truth in (truths | more).items() if not truth.any()]
    defective = [key for key, truth in truths.items() if truth.any()]
    hits = [(called[k] & truths[k]).sum() / (called[k] | truths[k]).sum() >= 0.1 for k in defective]
    assert result.clean["n_images"] == 7
    assert result.clean["kept_clean"] == pytest.approx(np.mean([not called[key].any() for key in clean]))
    assert 0 < result.clean["kept_clean"] < 1
    assert result.clean["defect_recall"] == pytest.approx(np.mean(hits)) and not all(hits)
    labels = [key in defective for key in [*defective, *clean]]
    peaks = [bytes_of[key].max() for key in [*defective, *clean]]
    assert result.clean["image_auroc"] == pytest.approx(roc_auc_score(labels, peaks))
    lines = {line["id"]: line for line in result.images}
    assert lines["image_5"]["found"] == 0.0 and lines["photo_0"]["kept_clean"] == 1.0


def test_batch_size_changes_nothing(drawn):
    one, all_ = evaluate(*drawn, size=1), evaluate(*drawn, size=7)
    assert one.metrics == all_.metrics
    assert one.images == all_.images


def test_intervals_hold_the_mean(drawn):
    result = evaluate(*drawn, bootstrap=200, names=["mae"])
    low, high = result.intervals["mae"]
    assert low <= result.metrics["mae"] <= high
    assert evaluate(*drawn, bootstrap=200, names=["mae"]).intervals == result.intervals


def test_intervals_are_scipys_95_percent():
    """Half the step from a 95 % to a 90 % interval is the tolerance."""
    rng = np.random.default_rng(1)
    truths = {f"image_{k:02d}": np.ones((8, 8), bool) for k in range(60)}
    counts = rng.integers(1, 64, 60)
    maps = {name: (np.arange(64) < n).astype(np.float32).reshape(8, 8) for name, n in zip(truths, counts, strict=True)}
    result = evaluate(truths, maps, bootstrap=4000, names=["mae"], size=60)
    errors = [row["mae"] for row in result.images]
    low, high = bootstrap(
        (errors,), np.mean, method="percentile", n_resamples=20_000, random_state=0
    ).confidence_interval
    step = (1.96 - 1.645) * np.std(errors) / np.sqrt(60)
    assert result.intervals["mae"] == pytest.approx([low, high], abs=0.5 * step)


def test_empty_maps_are_counted(drawn):
    truths, maps = drawn
    maps["image_0"] = np.zeros_like(maps["image_0"])
    assert evaluate(truths, maps).empty_maps == 1


def test_maps_of_one_value_are_counted(drawn):
    truths, maps = drawn
    for name, value in (("image_0", 1.0), ("image_1", 0.2), ("image_2", 0.0)):
        maps[name] = np.full_like(maps[name], value)
    result = evaluate(truths, maps)
    assert (result.full_maps, result.empty_maps) == (2, 1)


def test_faults_are_named(drawn):
    truths, maps = drawn
    wrong = {**maps, "image_2": np.zeros((3, 3), np.float32)}
    with pytest.raises(UserError, match=r"image_2: .*E-MAP-SIZE"):
        evaluate(truths, wrong)
    with pytest.raises(UserError, match=r"image_9.*E-MAP-COUNT"):
        Evaluator(Again(truths, 2), [*truths, "image_9"])(Given(maps))
    with pytest.raises(UserError, match="E-MAP-NOT-FINITE"):
        evaluate(truths, {**maps, "image_1": np.full_like(maps["image_1"], np.nan)})


def test_inspection_counts_clean_images_too(drawn):
    """Whether an image is defective can only be asked of a set that holds clean ones."""
    truths, maps = drawn
    result = evaluate(truths, maps, protocol="inspection")
    assert result.clean["n_images"] == 1.0
    maps["image_3"][:] = 0
    assert evaluate(truths, maps, protocol="inspection").metrics["image_auroc"] == 1.0


def test_only_what_was_asked_for_comes_back(drawn):
    assert set(evaluate(*drawn, names=["iou"]).metrics) == {"iou"}
    assert set(evaluate(*drawn, names=["mae", "f_measure"]).metrics) == {"mae", "f_adaptive", "f_mean", "f_max"}


def test_maps_that_say_nothing_of_defects_are_counted_apart_from_clean_ones(drawn):
    truths, maps = drawn
    for k, sample_id in enumerate(maps):
        if k != 3:
            maps[sample_id][:] = k % 2  # empty or full; the clean image's map has values
    result = evaluate(truths, maps)
    assert result.flat_on_defects and result.empty_maps + result.full_maps == 6
    maps["image_0"][2] = 0.5
    assert not evaluate(truths, maps).flat_on_defects


def test_faint_maps_are_counted(drawn):
    truths, maps = drawn
    assert evaluate(truths, maps).few_levels == 0
    maps["image_1"] *= 0.02
    assert evaluate(truths, maps).few_levels == 1


@pytest.mark.parametrize(("factor", "refused"), [(255, True), (1.01, True), (1.0005, False)])
def test_a_map_beyond_1_is_refused_not_cut(drawn, factor, refused):
    truths, maps = drawn
    maps["image_1"] /= maps["image_1"].max()
    maps["image_1"] *= factor
    if not refused:
        assert evaluate(truths, maps).metrics
        return
    with pytest.raises(UserError, match=r"image_1: .*E-MAP-RANGE"):
        evaluate(truths, maps)


def test_the_direction_of_a_metric_that_was_added_counts(monkeypatch):
    class Hausdorff(METRICS["mae"]):
        values: ClassVar[dict[str, int]] = {"hausdorff": -1}

    monkeypatch.setitem(METRICS, "hausdorff", Hausdorff)
    assert directions_of(["hausdorff"]) == {"hausdorff": -1} and numbers_of(["hausdorff"]) == {"hausdorff"}


@pytest.mark.parametrize("rule", ["max", "top_1_percent_mean", "region_area"])
def test_images_get_verdicts(drawn, rule):
    """Of the 8-bit maps, by hand: image_3 is the clean one, and bright."""
    truths, maps = drawn
    result = evaluate(truths, maps, threshold=0.75, image_rule=rule, bootstrap=50).verdicts
    called = {}
    for sample_id, values in maps.items():
        values = np.floor(values.astype(float) * 255 + 0.5) / 255
        top = np.sort(values, axis=None)[::-1][: -(-values.size // 100)].mean()
        score = {"max": values.max(), "top_1_percent_mean": top, "region_area": (values > 0.75).mean()}[rule]
        called[sample_id] = score > (0 if rule == "region_area" else 0.75)
    assert called["image_3"] and result["confusion"]["false_alarms"] == 1 == result["false_alarm_rate"]
    assert result["confusion"]["caught"] == sum(called.values()) - 1
    assert (result["rule"], result["threshold"]) == (rule, 0 if rule == "region_area" else 0.75)
    assert set(result["per_class"]) == {"kind_0", "kind_1"} and "miss_rate" in result["intervals"]
