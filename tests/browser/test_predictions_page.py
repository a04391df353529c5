"""The page of predictions as a reader uses it: threshold, filters, regions, review, many photos, small screens, accessibility."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from samis.reporting.render.predictions_page import render_predictions

EVIL = "=cmd|<img src=x onerror=alert(1)>, \"#%'"
SCORES = {"a.png": 0.95, "b.png": 0.62, "c.png": 0.48, "d.png": 0.05, EVIL: 0.71}


def region(area, box, score=0.8, **measures):
    return {"area_px": area, "box_xywh": box, "score": score, **measures}


def records_of(scores):
    regions = [region(12, (2, 3, 4, 3)), region(200, (20, 10, 20, 10), 0.9, length_px=20.0, skeleton_px=19.0)]
    return [
        {
            "id": f"set/{name}",
            "file_name": name,
            "height": 40,
            "width": 60,
            "score": score,
            "regions": regions if score > 0.5 else [],
            "drift": {"reasons": ["darker", "blurred"] if score < 0.1 else []},
        }
        for name, score in scores.items()
    ]


def write(folder, records, **options):
    for kind, suffix in (("thumbs", ".jpg"), ("overlays", ".jpg"), ("maps", ".png"), ("masks", ".png")):
        for record in records:
            path = folder / kind / f"{record['id']}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)
    (folder / "index.html").write_text(render_predictions(records, **options), encoding="utf-8")
    return folder / "index.html"


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    options = {
        "failed": {"e.png": "e.png: cannot be read; <b>save it again</b>"},
        "mm_per_px": 0.5,
    }
    return write(
        tmp_path_factory.mktemp("predictions"),
        records_of(SCORES),
        model="steel <b>",
        rule="max",
        threshold=0.5,
        **options,
    )


def names(page):
    return page.locator(".card b").all_text_contents()


def headline(page):
    return page.locator("#headline").text_content()


def set_threshold(page, value):
    page.fill("#exact", str(value))
    page.locator("#exact").dispatch_event("change")


def wait_until(page, condition):
    """Wait for a condition in the page; ``wait_for_function`` polls by eval, which the page's policy forbids."""
    for _ in range(1200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within a minute: {condition}")


def test_photos_by_score_and_verdicts_that_follow_the_threshold(open_page):
    page = open_page()
    assert names(page) == ["a.png", EVIL, "b.png", "c.png", "d.png"]
    assert headline(page) == "3 of 5 photos are defective"
    for threshold, expected in ((0.0, 5), (0.48, 3), (0.479, 4), (0.7, 2), (0.95, 0)):
        set_threshold(page, threshold)
        assert headline(page).startswith(f"{expected} of 5") and expected == sum(s > threshold for s in SCORES.values())
        assert page.locator(".card .defective").count() == expected
    page.locator("#reset").click()
    assert headline(page).startswith("3 of 5")
    page.locator("#threshold").press("End")
    assert headline(page).startswith("0 of 5") and page.locator("#exact").input_value() == "1.000"


def test_pictures_load_from_beside_the_page(open_page):
    page = open_page()
    wait_until(
        page, "[...document.querySelectorAll('.card img')].every((one) => one.complete && one.naturalWidth === 60)"
    )


def test_filters_and_orders(open_page):
    page = open_page()
    for value, expected in {
        "defective": ["a.png", EVIL, "b.png"],
        "ok": ["c.png", "d.png"],
        "near": ["c.png"],
        "unlike": ["d.png"],
        "reviewed": [],
        "failed": [],
    }.items():
        page.select_option("#show", value)
        assert names(page) == expected, value
    page.select_option("#show", "unlike")
    assert "unlike the training photos: darker, blurred" in page.locator(".card").text_content()
    page.select_option("#show", "failed")
    assert page.locator("#failures").is_visible()
    assert page.locator("#failures li").text_content() == "e.png: cannot be read; <b>save it again</b>"
    page.select_option("#show", "all")
    page.select_option("#order", "near")
    assert names(page)[:2] == ["c.png", "b.png"]
    page.select_option("#order", "low")
    assert names(page)[0] == "d.png"


def test_a_photo_with_its_regions(open_page):
    page = open_page()
    page.locator(".card .open").first.click()
    assert page.locator("#photo-name").text_content() == "a.png"
    rows = page.locator("#regions tbody tr")
    cells = [row.locator("td").all_text_contents() for row in rows.all()]
    # the largest first, under its number in the table of regions; 200 px at 0.5 mm a pixel are 50 mm²
    assert cells == [["2", "200", "0.9", "20", "19", "50"], ["1", "12", "0.8", "–", "–", "3"]]
    rows.nth(1).locator("button").click()
    box = page.locator("#boxes rect").first
    assert [box.get_attribute(key) for key in ("x", "y", "width", "height")] == ["2", "3", "4", "3"]
    assert rows.nth(1).get_attribute("aria-selected") == "true"
    stage, mark = page.locator("#large").bounding_box(), box.bounding_box()
    assert mark["x"] + mark["width"] / 2 - stage["x"] == pytest.approx(stage["width"] * 4 / 60, abs=2)
    page.keyboard.press("ArrowRight")
    assert page.locator("#photo-name").text_content() == EVIL
    page.locator("[data-view=map]").click()
    wait_until(
        page, "document.getElementById('large').src.includes('/maps/') && document.getElementById('large').complete"
    )
    assert page.locator("#large").evaluate("one => one.naturalWidth") == 60
    page.keyboard.press("Escape")
    assert page.locator("#photo").is_hidden()


def test_the_review_as_csv(open_page):
    page = open_page()
    page.locator(".card[data-name='c.png'] .review button").nth(1).click()
    page.locator(".card[data-name='a.png'] .review button").nth(1).click()
    page.locator(".card .open").nth(1).click()
    page.locator("[data-verdict=OK]").click()
    page.locator("#close").click()
    page.select_option("#show", "changed")
    assert names(page) == [EVIL, "c.png"]
    assert "OK, reviewed" in page.locator(".card").first.text_content()
    with page.expect_download() as download:
        page.locator("#export").click()
    lines = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {line["image"] for line in lines} == {"'" + EVIL, "a.png", "b.png", "c.png", "d.png", "e.png"}
    by_name = {line["image"]: line for line in lines}
    assert (by_name["c.png"]["verdict"], by_name["c.png"]["reviewed_verdict"]) == ("OK", "defective")
    assert (by_name["'" + EVIL]["verdict"], by_name["'" + EVIL]["reviewed_verdict"]) == ("defective", "OK")
    assert (by_name["b.png"]["reviewed_verdict"], by_name["b.png"]["score"], by_name["b.png"]["regions"]) == (
        "",
        "0.62",
        "2",
    )
    assert by_name["e.png"]["verdict"] == "not predicted"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_clipped_and_axe_finds_nothing(open_page, width, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    for opened in (False, True):
        if opened:
            page.locator(".card .open").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
        violations = axe.Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:90] for node in one["nodes"]]) for one in violations] == []


def test_shares_of_an_area_have_an_axis_and_a_threshold_of_their_size(open_page, tmp_path):
    records = records_of({"a.png": 0.0003, "b.png": 0.0005, "c.png": 0.12})
    records[2]["regions"] = [region(18423, (0, 0, 40, 30), length_px=1234.56)]
    path = write(tmp_path, records, model="m", rule="region_area", threshold=0.0004, failed={"e.png": "e.png: damaged"})
    page = open_page()
    page.goto(path.as_uri())
    assert headline(page) == "2 of 3 photos are defective"
    assert "threshold is\n0.0004." in page.content() and page.locator("#exact").input_value() == "0.0004"
    assert page.locator(".facts").all_text_contents()[2].startswith("OKscore 0.0003")
    assert page.locator("#histogram text").all_text_contents()[2:] == ["0", "0.05", "0.1", "0.15", "0.2"]
    assert page.locator("#histogram rect").count() == 2  # .12 is apart from the two small ones
    page.locator(".card .open").first.click()
    assert page.locator("#photo-facts").text_content() == "defective · score 0.120 · 60 x 40 px · 1 region"
    assert page.locator("#regions tbody td").all_text_contents() == ["1", "18423", "0.8", "1234.6"]
    page.locator("#close").click()
    page.select_option("#show", "near")
    assert names(page) == ["b.png", "a.png"]
    assert page.locator("#shown").text_content().endswith("1 not predicted")
    set_threshold(page, 0.0002)
    assert headline(page).startswith("3 of 3") and page.locator("#exact").input_value() == "0.0002"
    page.locator("#threshold").press("End")
    assert headline(page).startswith("0 of 3")
    page.locator("#reset").click()
    assert headline(page).startswith("2 of 3") and page.locator("#exact").input_value() == "0.0004"


def test_two_thousand_photos(open_page, tmp_path):
    scores = {f"{n:04}.png": (n * 37 % 2000) / 2000 for n in range(2000)}
    records = records_of(scores)
    (tmp_path / "index.html").write_text(render_predictions(records, model="m", rule="max", threshold=0.5))
    page = open_page()
    requests = []
    page.context.route("**/*.jpg", lambda route: (requests.append(route.request.url), route.fulfill(status=204)))
    page.goto((tmp_path / "index.html").as_uri())
    assert headline(page) == f"{sum(s > 0.5 for s in scores.values())} of 2000 photos are defective"
    assert page.locator(".card").count() == 120  # and the rest on demand
    page.locator("#more").click()
    assert page.locator(".card").count() == 240
    assert 0 < len(requests) < 240, "thumbnails out of sight were loaded"
    assert (tmp_path / "index.html").stat().st_size < 3e6
