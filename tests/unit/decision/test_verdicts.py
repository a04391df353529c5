"""Escapes, overkill, AUROC and average precision against torchmetrics, scipy and counting; intervals against scipy's bootstrap."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, mannwhitneyu
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_confusion_matrix

from samis.decision.verdicts import ImageDecision, summarise_verdicts
from samis.evaluation.intervals import bootstrap
from samis.reporting.analysis.verdict_table import escapes_table, promise_table, verdict_lines, verdict_table
from samis.reporting.render.markup import to_markdown


def drawn(defective=40, clean=30, seed=0):
    """Scores with ties, the defective ones higher; two kinds of defects."""
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.integers(3, 11, defective), rng.integers(0, 8, clean)] / 10
    kinds = ["hole" if n % 4 else "crack" for n in range(defective)] + ["clean"] * clean
    return [ImageDecision(float(s), kind != "clean", kind) for s, kind in zip(scores, kinds, strict=True)]


def test_numbers_are_torchmetrics_and_scipys():
    decisions = drawn()
    scores = torch.tensor([each.score for each in decisions], dtype=torch.float64)
    truth = torch.tensor([int(each.defective) for each in decisions])
    found = summarise_verdicts(decisions, rule="max", threshold=0.45)
    (passed, alarms), (escaped, caught) = binary_confusion_matrix((scores > 0.45).int(), truth).tolist()
    assert found["confusion"] == {"caught": caught, "escaped": escaped, "passed": passed, "false_alarms": alarms}
    assert min(found["confusion"].values()) > 0
    assert found["miss_rate"] == escaped / 40 and found["false_alarm_rate"] == alarms / 30
    assert found["image_auroc"] == pytest.approx(float(binary_auroc(scores, truth)), abs=1e-6)
    assert found["image_ap"] == pytest.approx(float(binary_average_precision(scores, truth)), abs=1e-6)
    greater = mannwhitneyu(scores[truth == 1].numpy(), scores[truth == 0].numpy()).statistic / (40 * 30)
    assert found["image_auroc"] == pytest.approx(greater, abs=1e-12)


def test_classes_are_counted_apart():
    decisions = drawn()
    found = summarise_verdicts(decisions, rule="max", threshold=0.45, bootstrap=bootstrap, resamples=200)
    assert list(found["per_class"]) == ["crack", "hole"]
    for kind, line in found["per_class"].items():
        scores = [each.score for each in decisions if each.class_name == kind]
        escaped = sum(score <= 0.45 for score in scores)
        assert (line["n_images"], line["escaped"], line["caught"]) == (len(scores), escaped, len(scores) - escaped)
        low, high = line["interval"]
        assert low <= line["miss_rate"] == escaped / len(scores) <= high
    assert sum(line["escaped"] for line in found["per_class"].values()) == found["confusion"]["escaped"]


def test_intervals_are_those_of_resampled_images():
    """Drawn again by hand with the bootstrap's seed: whole images, defective and clean together."""
    decisions = drawn()
    found = summarise_verdicts(decisions, rule="max", threshold=0.45, bootstrap=bootstrap, resamples=300)
    rng, misses = np.random.default_rng(0), []
    for _ in range(300):
        sample = [decisions[i] for i in rng.integers(70, size=70)]
        misses.append(np.mean([each.score <= 0.45 for each in sample if each.defective]))
    assert found["intervals"]["miss_rate"] == pytest.approx(np.percentile(misses, [2.5, 97.5]).tolist())
    assert set(found["intervals"]) == {"miss_rate", "false_alarm_rate", "image_auroc", "image_ap"}


@pytest.mark.parametrize(("sizes", "there"), [((5, 0), {"miss_rate"}), ((0, 5), {"false_alarm_rate"}), ((0, 0), set())])
def test_a_set_without_one_kind_lacks_what_that_kind_decides(sizes, there):
    found = summarise_verdicts(drawn(*sizes), rule="max", threshold=0.5, bootstrap=bootstrap, resamples=20)
    assert {"miss_rate", "false_alarm_rate", "image_auroc", "image_ap"} & set(found) == there
    assert bool(found) == bool(there)


def test_tables_say_escapes_overkill_and_classes(make_row):
    from samis.decision.verdicts import DIRECTIONS

    found = summarise_verdicts(drawn(), rule="max", threshold=0.45, bootstrap=bootstrap, resamples=100)
    few = summarise_verdicts(drawn(3, 30), rule="max", threshold=0.45)
    tuned = make_row("tuned", metrics={"s_measure": 0.8}, verdicts=found)
    zero = make_row("zero_shot", metrics={"s_measure": 0.8}, verdicts=few)
    for row in (tuned, zero):
        row.directions |= DIRECTIONS
    text = to_markdown(verdict_table("tile", [tuned, zero]))
    assert "| image AUROC ↑ | image AP ↑ | escapes ↓ | overkill ↓ | Caught | Escaped | Passed | False alarms |" in text
    counts = found["confusion"]
    assert f"| {counts['caught']} | {counts['escaped']} | {counts['passed']} | {counts['false_alarms']} |" in text
    assert f"{found['miss_rate']:.3f}" in text and "| max > 0.45 | – | – | – |" in text
    classes = to_markdown(escapes_table("tile", [tuned]))
    assert "| crack (10) | hole (30) |" in classes and f"| {found['per_class']['crack']['escaped']}" in classes
    lines = verdict_lines(tuned)
    assert f"{counts['escaped']} of 40 defective images escape" in lines[0] and "95 % interval" in lines[0]
    helped = make_row("zero_shot", metrics={"s_measure": 1.0}, oracle=True, verdicts=found)
    assert verdict_table("tile", [helped]) is None and verdict_lines(helped) == []
    assert escapes_table("tile", [make_row("tuned", metrics={"s_measure": 1.0})]) is None


def test_the_report_and_the_card_state_promise_images_and_date(make_row):
    """Of 12 perfect defective images 1 / 13 = .077 can be promised, .05 cannot; nothing of clean ones, of which there are none."""
    from samis.decision.calibration import Calibration
    from samis.decision.promise import calibration_record
    from samis.decision.risks import RiskCurves
    from samis.export.card import _calibrated, _promises

    risks = RiskCurves()
    truth = np.zeros((10, 10), bool)
    truth[:4, :4] = True
    for _ in range(12):
        risks.add(np.where(truth, 0.9, 0.25).astype(np.float32), truth)
    record = calibration_record(Calibration.of(risks, data="castings", split="val", created="2026-11-26"))
    row = make_row("tuned", metrics={"s_measure": 0.8})
    row.provenance["training"] = {"calibration": record}
    text = to_markdown(promise_table("tile", [row, make_row("zero_shot", metrics={"s_measure": 0.5})]))
    assert "| tuned | at most 10 % of the defect pixels missed | 0.8984 | 0.0 % | 0.0 % |" in text  # 230 / 256
    assert "| tuned | at most 5 % of the defect pixels missed | not attainable | – | – |" in text
    assert "Calibrated: tuned on 12 defective and 0 clean images of castings (val), 2026-11-26." in text
    assert "clean images called" not in text and promise_table("tile", [make_row("tuned")]) is None
    card = "\n".join(_promises({"calibration": record}))
    assert "on 12 defective and 0 clean images of castings (val), 2026-11-26" in card
    assert "| at most 10 % of the defect pixels missed | 0.8984 | 0.00% |" in card and "not attainable" in card
    assert _promises({}) == [] and "samis calibrate" in _calibrated({})


@pytest.mark.parametrize(("scores", "escaped"), [((0.9, 0.1), 0), ((0.2, 0.1), 12)])
def test_none_of_twelve_is_not_sure_to_be_none(scores, escaped):
    """A rate of 0 or 1 is the same in every resample; scipy's exact interval says what it may be."""
    decisions = [ImageDecision(scores[0], True, "hole")] * 12 + [ImageDecision(scores[1], False, "clean")] * 8
    found = summarise_verdicts(decisions, rule="max", threshold=0.5, bootstrap=bootstrap, resamples=20)
    exact = binomtest(escaped, 12).proportion_ci(0.95, "exact")
    assert found["intervals"]["miss_rate"] == pytest.approx([exact.low, exact.high], abs=1e-12)
    assert found["per_class"]["hole"]["interval"] == found["intervals"]["miss_rate"]
    none = binomtest(0, 8).proportion_ci(0.95, "exact")
    assert found["intervals"]["false_alarm_rate"] == pytest.approx([none.low, none.high], abs=1e-12)
