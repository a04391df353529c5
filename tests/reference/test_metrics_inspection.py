"""The ``inspection`` protocol against scikit-learn, torchmetrics, scikit-image and plain definitions."""

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
    binary_jaccard_index,
)

from samis.metrics import ImageScores, score_image, summarise
from samis.metrics.image_level import auroc, average_precision


def drawn_images(number: int = 24) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return maps and truths with several defects each, large and small; every fourth image is clean."""
    rng = np.random.default_rng(11)
    images = []
    for index in range(number):
        truth = np.zeros((60, 70), bool)
        if index % 4:
            for _ in range(int(rng.integers(1, 5))):
                y, x, height, width = rng.integers([0, 0, 1, 1], [50, 60, 22, 22])
                truth[y : y + height, x : x + width] = True
        image = rng.integers(0, 150, truth.shape) + 110 * np.roll(truth, int(rng.integers(0, 4)), axis=1)
        images.append((np.clip(image, 0, 255).astype(np.uint8) if index % 5 else image.astype(np.uint8) // 3, truth))
    return images


IMAGES = drawn_images()


@pytest.fixture(scope="module")
def scores() -> list[ImageScores]:
    return [score_image(image, truth, protocol="inspection") for image, truth in IMAGES]


def test_overlaps_equal_torchmetrics(scores):
    for (image, truth), score in zip(IMAGES, scores, strict=True):
        if truth.any():
            predicted, mask = torch.from_numpy(image >= 128), torch.from_numpy(truth)
            assert score.values["iou"] == pytest.approx(
                binary_jaccard_index(predicted.int(), mask.int()).item(), abs=1e-6
            )
            assert score.values["dice"] == pytest.approx(binary_f1_score(predicted.int(), mask.int()).item(), abs=1e-6)


def test_image_level_equals_sklearn_and_torchmetrics(scores):
    best = np.array([image.max() for image, _ in IMAGES])
    defective = np.array([truth.any() for _, truth in IMAGES])
    numbers = summarise(scores)
    pairs = best[defective][:, None] - best[~defective][None].astype(int)
    assert numbers["image_auroc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    preds, target = torch.from_numpy(best / 255), torch.from_numpy(defective.astype(int))
    assert numbers["image_auroc"] == pytest.approx(binary_auroc(preds, target).item(), abs=1e-6)
    assert numbers["image_ap"] == pytest.approx(binary_average_precision(preds, target).item(), abs=1e-6)


def test_image_level_with_many_ties_equals_sklearn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    for _ in range(20):
        values, target = rng.integers(0, 20, 60), rng.integers(0, 2, 60)
        counts = [np.bincount(values[target == kind], minlength=256).astype(float) for kind in (1, 0)]
        assert auroc(*counts) == pytest.approx(sklearn_metrics.roc_auc_score(target, values), abs=1e-12)
        expected = sklearn_metrics.average_precision_score(target, values)
        assert average_precision(*counts) == pytest.approx(expected, abs=1e-12)


def test_objects_equal_skimage(scores):
    predicted = {"10": [0, 0], "50": [0, 0]}
    number = [0, 0]
    for (image, truth), score in zip(IMAGES, scores, strict=True):
        regions = [set(map(tuple, region.coords)) for region in regionprops(label(truth, connectivity=2))]
        detected = [set(map(tuple, region.coords)) for region in regionprops(label(image >= 128, connectivity=2))]
        small = [len(region) <= 256 for region in regions]
        number = [number[0] + len(regions), number[1] + sum(small)]
        ious = np.array([[len(a & b) / len(a | b) for b in detected] for a in regions]).reshape(
            len(regions), len(detected)
        )
        for level, threshold in (("10", 0.1), ("50", 0.5)):
            hit = (ious >= threshold).any(axis=1)
            predicted[level] = [predicted[level][0] + hit.sum(), predicted[level][1] + hit[small].sum()]
            assert score.values[f"false_alarms_{level}"] == (~(ious >= threshold).any(axis=0)).sum()
    numbers = summarise(scores)
    assert number[1] > 0
    for level in predicted:
        assert numbers[f"object_recall_{level}"] == pytest.approx(predicted[level][0] / number[0], abs=1e-12)
        assert numbers[f"small_recall_{level}"] == pytest.approx(predicted[level][1] / number[1], abs=1e-12)


def test_aupro_equals_its_definition(scores):
    """Step through every score that occurs, from the highest down, and count pixels and regions again."""
    rates, overlaps = [0.0], [0.0]
    regions = [
        (image, region.coords) for image, truth in IMAGES for region in regionprops(label(truth, connectivity=2))
    ]
    background = np.concatenate([image[~truth] for image, truth in IMAGES])
    for threshold in np.unique(np.concatenate([image.ravel() for image, _ in IMAGES]))[::-1]:
        rates.append((background >= threshold).mean())
        overlaps.append(np.mean([(image[tuple(coords.T)] >= threshold).mean() for image, coords in regions]))
    # vertical steps: several overlaps at one rate, so integrate over the polyline itself
    x, y = np.array(rates), np.array(overlaps)
    inside = x < 0.3
    x, y = np.append(x[inside], 0.3), np.append(y[inside], np.interp(0.3, x, y))
    area = (np.diff(x) * (y[1:] + y[:-1]) / 2).sum()
    assert summarise(scores)["aupro"] == pytest.approx(area / 0.3, abs=1e-12)


def test_boundary_f_equals_all_pairs_of_outline_pixels(scores):
    def outline(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1, constant_values=True)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner)

    for (image, truth), score in zip(IMAGES, scores, strict=True):
        if not truth.any():
            continue
        predicted, true = outline(image >= 128), outline(truth)
        if not len(predicted):
            assert score.values["boundary_f"] == 0
            continue
        distance = np.sqrt(((predicted[:, None] - true[None]) ** 2).sum(axis=2))
        precision, recall = (distance.min(axis=1) <= 2).mean(), (distance.min(axis=0) <= 2).mean()
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert score.values["boundary_f"] == pytest.approx(expected, abs=1e-12)
