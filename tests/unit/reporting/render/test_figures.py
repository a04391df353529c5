"""Images are chosen, maps read, and panels drawn, also from odd rows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from samis.errors import UserError
from samis.reporting.render.overlay import PanelRow, choose_images, draw_panel, is_long, overlaid, read_map, score_text


def size(path):
    with Image.open(path) as image:
        return image.size


def test_best_median_worst():
    images = [{"id": f"i{n}", "class_name": "a", "s_measure": n / 10} for n in range(9)]
    images.append({"id": "free", "class_name": "clean", "s_measure": 1.0})
    images.append({"id": "none", "class_name": "a"})
    assert choose_images(images, "s_measure", direction=1) == [("i8", "best"), ("i4", "median"), ("i0", "worst")]
    assert [name for name, _ in choose_images(images, "s_measure", direction=1, each=2)] == [
        "i8",
        "i7",
        "i5",
        "i4",
        "i1",
        "i0",
    ]
    assert choose_images(images[:1], "s_measure", direction=1) == [("i0", "best")]
    assert [sort for _, sort in choose_images(images[:2], "s_measure", direction=1)] == ["best", "worst"]
    with pytest.raises(UserError, match=r"'iou'.*E-ROW-PER-IMAGE"):
        choose_images(images, "iou", direction=1)


def test_maps_are_read_or_refused(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(read_map(tmp_path, "a", hw=(3, 4)), values)
    with pytest.raises(UserError, match=r"3x4.*4x3.*E-ROW-MAP-SIZE"):
        read_map(tmp_path, "a", hw=(4, 3))
    with pytest.raises(UserError, match=r"b\.png.*E-ROW-MAP\]"):
        read_map(tmp_path, "b", hw=(3, 4))
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    with pytest.raises(UserError, match=r"c\.png.*E-ROW-MAP\]"):
        read_map(tmp_path, "c", hw=(3, 4))


def test_overlay_leaves_the_image_where_the_map_is_empty():
    image = np.full((2, 2, 3), 51, np.uint8)
    values = np.array([[0, 255], [0, 0]], np.uint8)
    tinted = overlaid(image, values)
    assert tinted[0, 0] == pytest.approx([0.2, 0.2, 0.2])
    assert tinted[0, 1] == pytest.approx([0.35 * 0.2 + 0.65, 0.35 * 0.2 + 0.65 * 0.43, 0.35 * 0.2])


def panel_row(name, h, w, mask):
    rng = np.random.default_rng(0)
    truth = None if mask is None else np.zeros((h, w), bool)
    if mask:
        truth[5:9, 3:12] = True
    values = rng.integers(0, 256, (h, w), dtype=np.uint8)
    image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    return PanelRow(name, "best", "scratch", image, truth, {"SAM, a long name that wraps": values})


def test_panel_of_square_long_and_unlabelled_images(tmp_path):
    shapes = [("a", 20, 20, True), ("b", 80, 20, True), ("c", 20, 30, None), ("d", 20, 20, False)]
    rows = [panel_row(*shape) for shape in shapes]
    assert size(draw_panel(rows, ["SAM, a long name that wraps"], tmp_path / "p.png", title="t"))[0] == 996
    with pytest.raises(ValueError, match="at least one image"):
        draw_panel([], ["x"], tmp_path / "q.png")


def test_long_images_lie_across_the_page(tmp_path):
    assert [is_long(np.zeros(hw)) for hw in ((10, 26), (26, 10), (10, 25))] == [True, True, False]
    upright, lying = panel_row("u", 80, 20, True), panel_row("l", 20, 80, True)
    names = ["SAM, a long name that wraps"]
    sizes = [size(draw_panel([row], names, tmp_path / "p.png")) for row in (upright, lying)]
    # Three strips, each 8.3 in wide and about a quarter of that high, under a margin.
    assert sizes[0] == sizes[1] == (996, pytest.approx(120 * (3 * (0.95 * 8.3 / 4 + 0.22) + 0.75), abs=2))


def test_score_text():
    images = [{"id": "a", "s_measure": 0.9314}, {"id": "b"}]
    assert [score_text(images, name, "s_measure") for name in "abc"] == ["S 0.931", "", ""]
