"""The metrics that ``pysod`` computes only by name, against PySODMetrics 1.6.2, image by image."""

import cv2
import numpy as np
import pytest
from test_metrics_pysod import MAPS, METHODS, TRUTHS, find, maps, needs_maps, read_grey, truths

from samis.metrics import (
    DIRECTIONS,
    OPTIONAL,
    PROTOCOLS,
    TruthFields,
    find_metrics,
    mean_curves,
    score_image,
    summarise,
)
from samis.metrics.__main__ import main
from samis.metrics.float_pair import make_pair

pysod = pytest.importorskip("py_sod_metrics", reason="pip install pysodmetrics==1.6.2")
NAMES = [name for name in OPTIONAL["pysod"] if name != "boundary_f"]  # the reference has no such measure


@pytest.fixture(autouse=True)
def numpy_as_the_reference_knows_it(monkeypatch):
    """PySODMetrics 1.6.2 calls ``numpy.trapz``, which numpy 2.4 no longer has under that name."""
    if not hasattr(np, "trapz"):
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)


def reference(image, truth, *, names=NAMES, normalize=True):
    """Score one image; return values and curves by our names."""
    values, curves = {}, {}
    if "rates" in names:
        kinds = {
            "ber": pysod.BERHandler, "specificity": pysod.SpecificityHandler, "accuracy": pysod.OverallAccuracyHandler,
            "kappa": pysod.KappaHandler,
        }  # fmt: skip
        counts = pysod.FmeasureV2(
            {n: kind(with_dynamic=True, with_adaptive=True, with_binary=True) for n, kind in kinds.items()}
        )
        counts.step(image, truth, normalize=normalize)
        for name, results in counts.get_results().items():
            values |= {
                name: results["binary"],
                f"{name}_adaptive": results["adaptive"],
                f"{name}_mean": results["dynamic"].mean(),
            }
            curves[name] = results["dynamic"]
    if "msiou" in names:
        scales = pysod.MSIoU(with_dynamic=True, with_adaptive=True, with_binary=True)
        scales.step(image, truth, normalize=normalize)
        results = scales.get_results()
        values |= {
            "msiou": results["binary"],
            "msiou_adaptive": results["adaptive"],
            "msiou_mean": results["dynamic"].mean(),
        }
        curves["msiou"] = results["dynamic"][255::-1]
    for name, kind, key in (
        ("context_measure", pysod.ContextMeasure, "cm"),
        ("human_correction_effort", pysod.HumanCorrectionEffortMeasure, "hce"),
    ):
        if name in names:
            metric = kind()
            metric.step(image, truth, normalize=normalize)
            values[name] = metric.get_results()[key]
    return values, curves


def assert_equal(image, truth, where, names=NAMES):
    values, curves = reference(image, truth, names=names)
    ours = score_image(image, truth, names)
    further = {f"cohen_kappa{kind}" for kind in ("", "_adaptive", "_mean")} if "rates" in names else set()
    assert set(ours.values) == set(values) | further and set(ours.curves) - {"cohen_kappa"} == set(curves)
    for name, value in values.items():
        assert ours.values[name] == pytest.approx(float(value), rel=0, abs=1e-12), (where, name)
    for name, curve in curves.items():
        assert np.abs(ours.curves[name] - curve).max() <= 1e-12, (where, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hw", [(41, 53), (20, 20), (17, 64)])
def test_synthetic_corner_cases(hw, name):
    seen = 0
    for truth_name, truth in truths(hw).items():
        for map_name, image in maps(truth).items():
            if name == "msiou" and len(np.unique(image)) > 8 and (truth_name != "disc" or map_name == "noise"):
                continue  # a mask for each level takes the reference seconds
            assert_equal(image, truth, f"{truth_name}/{map_name}/{hw}", (name,))
            seen += 1
    assert seen > 100


def test_blobs_and_holes():
    """Outlines with holes, several parts and thin lines, on which the correction's polygons depend."""
    rng = np.random.default_rng(5)
    for number in range(12):
        fields = [cv2.GaussianBlur(rng.random((97, 120)), (0, 0), 2 + number / 2) for _ in range(2)]
        truth = (fields[0] > np.quantile(fields[0], 0.7)).astype(np.uint8) * 255
        mixed = 0.7 * fields[0] + 0.3 * fields[1]
        image = (255 * (mixed > np.quantile(mixed, 0.68))).astype(np.uint8)
        assert_equal(image, truth, number)


@needs_maps
def test_published_maps():
    chosen = sorted(path.stem for path in TRUTHS.iterdir())[::225]
    assert len(chosen) == 4
    for method in METHODS[::3]:
        for name in chosen:
            truth = read_grey(find(TRUTHS, name))
            try:
                image = read_grey(find(MAPS / method, name))
            except StopIteration:  # some methods publish the held-out images only
                continue
            assert_equal(image, truth, f"{method}/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_float_maps_are_not_rounded_first(name):
    """A faint map of floats, stretched in floats by both."""
    truth = truths((41, 53))["disc"]
    values = cv2.GaussianBlur(truth, (0, 0), 3) / 255 * 0.004 + 0.001
    stretched = (values - values.min()) / (values.max() - values.min())
    pair = make_pair(values, TruthFields(truth))
    expected, _ = reference(stretched, truth > 128, names=(name,), normalize=False)
    (metric,) = find_metrics([name])
    ours = metric.formula(pair).values
    for number, value in expected.items():
        assert ours[number] == pytest.approx(float(value), rel=0, abs=1e-9), number


def test_kappa_as_cohen_has_it():
    from sklearn.metrics import cohen_kappa_score  # comes with PySODMetrics

    rng = np.random.default_rng(2)
    truth = truths((20, 20))["disc"]
    image = np.where(rng.random(truth.shape) < 0.2, 255 - truth, truth)
    expected = cohen_kappa_score((truth > 128).ravel(), (image > 127).ravel())
    assert score_image(image, truth, ["cohen_kappa"]).values["cohen_kappa"] == pytest.approx(expected, abs=1e-12)


def test_an_oblique_line_has_a_context_measure():
    """The reference stops on a truth whose covariance has no inverse."""
    truth = np.eye(12, dtype=np.uint8) * 255
    value = score_image(truth, truth, ["context_measure"]).values["context_measure"]
    assert 0 < value <= 1.5


def test_only_by_name():
    truth = truths((20, 20))["disc"]
    default = score_image(truth, truth)
    assert not set(default.values) & {"ber", "kappa", "context_measure", "msiou", "human_correction_effort"}
    assert set(PROTOCOLS["pysod"]).isdisjoint(NAMES)
    results = summarise([score_image(truth, truth, ["ber", "msiou_max", "mae"])])
    assert {"ber", "msiou_max", "mae"} <= set(results) and "context_measure" not in results
    assert results["msiou_max"] == mean_curves([score_image(truth, truth, ["msiou"])])["msiou"].max()
    assert DIRECTIONS["ber_mean"] == DIRECTIONS["human_correction_effort"] == -1 and DIRECTIONS["kappa"] == 1


def test_the_command_takes_the_names(tmp_path, capsys):
    for kind in ("maps", "masks"):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), truths((20, 20))["disc"])
    assert main([str(tmp_path / "maps"), str(tmp_path / "masks"), "--metrics", *NAMES]) == 0
    printed = capsys.readouterr().out
    assert all(
        number in printed for number in ("ber", "kappa", "context_measure", "human_correction_effort", "msiou_max")
    )
