"""Regions against pycocotools and scikit-image."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from skimage.measure import label, regionprops

from samis.prediction.coco import coco
from samis.prediction.regions import find_regions, kept_mask, table_rows

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools with numpy 2


def blobs(seed=0, shape=(60, 83)):
    """Return a mask with ragged parts, holes, lines one pixel wide and pixels that touch at corners."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) > 0.75
    mask[5:30, 8:40] = True
    mask[12:18, 14:22] = False
    mask[40, 3:70] = True
    mask[-1, -1] = mask[0, 0] = True
    return mask


def as_file(tmp_path, mask, regions, polygons):
    record = {"file_name": "a.png", "height": mask.shape[0], "width": mask.shape[1]}
    record["regions"] = [region.as_dict() for region in regions]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco([record], polygons=polygons)))
    return COCO(str(path))


def test_measures_agree_with_scikit_image():
    mask = blobs()
    values = np.random.default_rng(1).random(mask.shape)
    regions = find_regions(mask, values)
    reference = regionprops(label(mask, connectivity=2), intensity_image=values)
    assert len(regions) == len(reference) > 20
    ours = {(*region.box_xywh, region.area_px): region for region in regions}
    for theirs in reference:
        y0, x0, y1, x1 = theirs.bbox
        region = ours[x0, y0, x1 - x0, y1 - y0, int(theirs.area)]
        assert region.score == pytest.approx(theirs.intensity_mean, abs=1e-5)
        assert region.centroid_xy == pytest.approx((theirs.centroid[1] + 0.5, theirs.centroid[0] + 0.5), abs=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_are_the_masks_in_pycocotools(tmp_path, seed):
    mask = blobs(seed)
    regions = find_regions(mask, mask.astype(float))
    read = as_file(tmp_path, mask, regions, polygons=False)
    annotations = read.loadAnns(read.getAnnIds())
    assert len(annotations) == len(regions) > 20
    whole = np.zeros_like(mask)
    for annotation, region in zip(annotations, regions, strict=True):
        part = read.annToMask(annotation).astype(bool)
        assert part.sum() == region.area_px == annotation["area"]
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == list(region.box_xywh)
        assert not (whole & part).any()
        whole |= part
    assert np.array_equal(whole, mask)
    assert np.array_equal(kept_mask(regions, mask.shape), mask)
    results = read.loadRes(
        [{k: a[k] for k in ("image_id", "category_id", "segmentation", "score")} for a in annotations]
    )
    assert len(results.getAnnIds()) == len(annotations)


def test_polygons_are_the_outer_boundaries_in_pycocotools(tmp_path):
    from scipy.ndimage import binary_fill_holes

    mask = np.zeros((60, 83), bool)
    mask[5:30, 8:40] = True
    mask[12:18, 14:22] = False
    mask[30:35, 30:33] = True
    mask[40, 3:70] = True
    mask[50:58, 70:83] = np.tril(np.ones((8, 13), bool))
    mask[59, 0] = True
    regions = find_regions(mask, mask.astype(float))
    read = as_file(tmp_path, mask, regions, polygons=True)
    parts = [read.annToMask(annotation).astype(bool) for annotation in read.loadAnns(read.getAnnIds())]
    assert len(parts) == 4
    assert np.array_equal(np.any(parts, axis=0), binary_fill_holes(mask))


def test_length_and_width_of_turned_bars():
    import cv2

    for angle in (0, 30, 90, 135):
        picture = np.zeros((200, 200), np.uint8)
        corners = cv2.boxPoints(((100, 100), (80, 12), angle))
        cv2.fillPoly(picture, [corners.round().astype(np.int32)], 1)
        (region,) = find_regions(picture.astype(bool), picture.astype(float))
        assert region.length_px == pytest.approx(81, abs=2)
        assert region.width_px == pytest.approx(13, abs=2)
        assert abs((region.angle_deg - angle + 90) % 180 - 90) < 2
        assert -90 < region.angle_deg <= 90


def test_small_regions_are_dropped_and_millimetres_follow_the_scale():
    mask = np.zeros((10, 10), bool)
    mask[2:4, 1:7] = mask[8, 8] = True
    (region,) = find_regions(mask, mask * 0.5, min_area_px=2)
    assert kept_mask([region], mask.shape).sum() == 12
    (row,) = table_rows("a.png", [region.as_dict()], mm_per_px=0.5)
    assert (row["area_px"], row["area_mm2"], row["length_mm"], row["width_mm"]) == (12, 3.0, 3.0, 1.0)
    (bare,) = table_rows("a.png", [region.as_dict()])
    assert bare["area_mm2"] == bare["length_mm"] == ""


def test_nothing_found_is_valid(tmp_path):
    mask = np.zeros((4, 5), bool)
    assert find_regions(mask, mask.astype(float)) == []
    assert as_file(tmp_path, mask, [], polygons=False).getAnnIds() == []
