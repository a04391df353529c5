"""The report page as a reader uses it: sorting, filters, slider, theme, keyboard, small screens, accessibility."""

from __future__ import annotations

import pytest

EVIL = "</script><img src=x onerror=alert(1)>"
MAIN_TABLE = "table:has(caption:text-is('steel (test, 16 images)'))"


def unfold(page) -> None:
    """Open the section of the second data set, which is folded at first, by its link in the contents."""
    assert page.locator(MAIN_TABLE).is_hidden()
    page.locator(".contents a").filter(has_text="steel (test").click()
    assert page.locator(MAIN_TABLE).is_visible()


def column(page, number: int) -> list[str]:
    """Return the first line of a column's cells, from top to bottom, without the titles of blocks."""
    script = """(rows, n) => rows.map(row => row.cells[n]).map(cell =>
        (cell.querySelector("small") ? cell.firstChild : cell).textContent)"""
    return page.locator(f"{MAIN_TABLE} tbody tr:not(.block)").evaluate_all(script, number)


def ids(page) -> list[str]:
    return page.locator(".card h3").all_text_contents()


def test_the_answer_comes_first(open_page):
    page = open_page()
    text = page.locator("h1").text_content()
    # on both data sets: zero-shot 0.375, tuned 0.650, best 0.9075: (0.650 - 0.375) / (0.9075 - 0.375) = 52 %
    assert text.startswith("Tuning SAM closes 52\N{NO-BREAK SPACE}% of the gap to the best specialised network on rail")
    assert page.locator("main > *").first.is_visible() and page.locator("h1").bounding_box()["y"] < 300
    assert page.locator(".gap svg[role=img]").count() == 4  # two data sets, two metrics
    assert "zero-shot SAM 0.375 (grid)" in page.locator(".gap svg").first.get_attribute("aria-label")


def test_each_data_set_has_a_card_with_its_numbers_and_a_sentence(open_page):
    cards = open_page(viewport={"width": 390, "height": 800}).locator(".finds li")
    assert cards.locator(".name strong").all_text_contents() == ["rail", "steel"]
    # means over 16 images: 0.50 + 0.020 * 7.5, 0.30 + 0.010 * 7.5, 0.90 + 0.001 * 7.5; these rows have no recall and no IoU
    assert cards.nth(0).locator("dd").all_text_contents() == ["0.650", "0.375", "0.908"]
    assert "On steel, tuned SAM reaches S 0.650, untouched SAM 0.375" in cards.nth(1).text_content()
    page = cards.page
    unfold(page)
    box = page.locator(f"{MAIN_TABLE} tbody td").first.bounding_box()
    assert box["x"] + box["width"] < 390  # so do they in a table
    assert "Escapes and overkill" in cards.nth(1).locator(".images").text_content()
    assert cards.nth(0).locator("dl").bounding_box()["y"] < 600  # figures come first, on a phone too


def test_columns_are_explained_on_hover_by_keyboard_and_by_touch(open_page):
    page = open_page(viewport={"width": 390, "height": 800}, has_touch=True)
    unfold(page)
    button = page.locator(f"{MAIN_TABLE} thead button").filter(has_text="MAE ↓")
    text = "Mean absolute error: mean difference of map and truth over all pixels"
    assert button.get_attribute("title").startswith(text)
    described = page.locator(f"#{button.get_attribute('aria-describedby')}")  # read with the button by a screen reader
    assert described.text_content().startswith(text) and described.is_hidden()
    fold = page.locator(f".table:has({MAIN_TABLE}) .meanings")
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert described.is_visible()
    page.keyboard.press("Enter")
    assert described.is_hidden()
    fold.locator("summary").tap()
    assert described.is_visible() and fold.locator("dt").first.is_visible()
    ids = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(ids) == len(set(ids)) > 10


def test_tables_sort_by_click_and_go_back(open_page):
    page = open_page()
    unfold(page)
    before = column(page, 0)
    assert before == ["grid", "empty", "lora", "unet"]  # the row that saw the truth is not among them
    button = page.locator(f"{MAIN_TABLE} thead button").filter(has_text="S ↑")
    head = button.locator("xpath=..")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 0) == ["unet", "lora", "grid", "empty"] and column(page, 1) == [
        "0.908",
        "0.650",
        "0.375",
        "0.275",
    ]
    assert page.locator(f"{MAIN_TABLE} .block").first.is_hidden()
    button.click()
    assert head.get_attribute("aria-sort") == "ascending" and column(page, 0) == ["empty", "grid", "lora", "unet"]
    button.click()
    assert head.get_attribute("aria-sort") == "none" and column(page, 0) == before
    assert page.locator(f"{MAIN_TABLE} .block").first.is_visible()


def test_tables_sort_by_keyboard_with_the_best_first(open_page):
    page = open_page()
    unfold(page)
    button = page.locator(f"{MAIN_TABLE} thead button").filter(has_text="MAE ↓")
    button.focus()
    page.keyboard.press("Enter")
    assert button.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    assert column(page, 0) == ["unet", "lora", "grid", "empty"]
    page.keyboard.press("Shift+Tab")  # to the column before
    page.keyboard.press("Space")
    assert page.locator(f"{MAIN_TABLE} thead th[aria-sort=descending]").text_content().startswith("S ↑")


def test_gallery_filters_and_orders(open_page):
    page = open_page()
    assert "12 of 32 images" in page.locator("#shown").text_content()
    page.select_option("[name=group]", "steel")
    # tuned - zero-shot = 0.2 + 0.01 n, so the last image gains most; tuned = 0.5 + 0.02 n, so the first is worst
    assert ids(page) == [f"steel{n}" for n in range(12)]  # the worst failures come first
    page.select_option("[name=order]", "both")
    assert ids(page)[:4] == ["steel15", "steel0", "steel14", "steel1"]
    page.select_option("[name=order]", "failure")
    page.locator("#more").press("Enter")
    assert ids(page) == [f"steel{n}" for n in range(16)] and page.locator("#more").is_hidden()
    page.select_option("[name=order]", "gain")
    assert ids(page)[:3] == ["steel15", "steel14", "steel13"]
    page.select_option("[name=class]", "pit")
    assert sorted(ids(page)) == sorted(f"steel{n}" for n in range(1, 16, 2))


def test_the_slider_compares_two_views(open_page):
    page = open_page()
    card = page.locator(".card").first
    slider, right = card.locator("input[type=range]"), card.locator(".side.right")

    def cut():
        return float(right.evaluate("e => getComputedStyle(e).clipPath").split()[-1].rstrip("%)"))

    assert card.locator(".strip button").all_text_contents() == [
        "photo", "truth", "zero-shotS 0.300", "tunedS 0.500", "baselineS 0.900",
    ]  # fmt: skip
    # The line begins in the middle of the defect, columns 8 to 19 of 120: half of it is on each side.
    assert cut() == pytest.approx(100 * 13.5 / 120, abs=0.1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert cut() > 100 * 13.5 / 120
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "line at 0 %"
    box = card.locator(".stage").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert abs(float(slider.input_value()) - 75) <= 3
    card.locator(".strip button").nth(1).click()
    assert card.locator(".sides").text_content() == "◂ zero-shottruth ▸" and "truth right" in slider.get_attribute(
        "aria-label"
    )
    page.select_option("[name=left]", "best")
    assert "baseline left" in page.locator(".card input[type=range]").first.get_attribute("aria-label")


def colour(page, selector, x, y):
    """Return the colour of a stack of pictures at a pixel of the photo, as the browser blends it."""
    return page.evaluate(
        """async ([selector, x, y]) => {
            const images = [...document.querySelector(selector).querySelectorAll("img")];
            await Promise.all(images.map((one) => one.decode()));
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [images[0].naturalWidth, images[0].naturalHeight];
            const context = canvas.getContext("2d");
            images.forEach((one) => context.drawImage(one, 0, 0));
            return [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
        }""",
        [selector, x, y],
    )


def near(value, expected):
    return all(abs(a - b) <= 6 for a, b in zip(value, expected, strict=True))


def test_truth_and_prediction_as_fill_or_outline(open_page):
    page = open_page()
    left = ".card .side.left"
    # photo 120, map 90 of 255 everywhere: 120 + 0.65 * 90 / 255 * (orange - 120)
    strength = 0.65 * 90 / 255
    tinted = [120 + strength * (part - 120) for part in (255, 110, 0)]
    for x, y in ((13, 8), (60, 10)):  # on the defect and beside it: the truth is not drawn over an answer
        assert near(colour(page, left, x, y), tinted)
    page.select_option("[name=truth]", "outline")
    assert near(colour(page, left, 7, 8), (0, 200, 230)) and near(colour(page, left, 13, 8), tinted)
    page.select_option("[name=truth]", "fill")
    filled = [part + 165 / 255 * (cyan - part) for part, cyan in zip(tinted, (0, 200, 230), strict=True)]
    assert near(colour(page, left, 13, 8), filled) and near(colour(page, left, 60, 10), tinted)
    page.select_option("[name=truth]", "off")
    page.select_option(
        "[name=prediction]", "outline"
    )  # the map reaches one half nowhere, so there is nothing to outline
    assert near(colour(page, left, 13, 8), (120, 120, 120))


def test_one_photo_at_full_size_with_zoom_and_pan(open_page):
    page = open_page()
    page.locator(".card .enlarge").first.click()
    assert page.locator("#viewer-name").text_content() == "rail0" and page.locator("#zoom").text_content() == "100 %"

    def moved():
        matrix = page.locator("#layers").evaluate("e => new DOMMatrix(getComputedStyle(e).transform).toFloat64Array()")
        values = [matrix[str(n)] for n in range(16)] if isinstance(matrix, dict) else list(matrix)
        return values[0], values[12], values[13]

    canvas = page.locator("#canvas")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -100)
    page.locator("#zoom:text-is('125 %')").wait_for()
    scale, x, _ = moved()
    assert scale == pytest.approx(1.25) and x == pytest.approx(
        -0.25 * box["width"] / 4, abs=1
    )  # the point under the mouse stays
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    assert moved()[1] == pytest.approx(0, abs=0.5)  # the photo does not leave the frame
    canvas.focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert moved()[0] == pytest.approx(1.875) and moved()[1] < 0
    page.keyboard.press("0")
    assert moved() == (1, 0, 0)
    page.locator("#viewer-views button").nth(1).click()
    assert canvas.get_attribute("aria-label") == "rail0: truth"
    assert near(colour(page, "#layers", 13, 8), [120 + 165 / 255 * (part - 120) for part in (0, 200, 230)])
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()


def test_every_picture_can_be_drawn(open_page):
    page = open_page()
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    # 12 cards: two sides of a photo and a map, a small photo, and four small ones with a layer
    assert len(widths) == 12 * (2 * 2 + 1 + 4 * 2) and min(widths) >= 50


def test_dark_and_light(open_page):
    def back(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert back(light) == "rgb(251, 251, 252)" and back(dark) == "rgb(20, 22, 26)"
    light.locator("#theme").focus()
    light.keyboard.press("Enter")
    assert back(light) == back(dark) and light.locator("#theme").get_attribute("aria-pressed") == "true"
    light.reload()
    assert back(light) == back(dark)  # remembered


@pytest.mark.parametrize("width", [320, 390, 768])
def test_small_screens_do_not_scroll_sideways(open_page, width):
    page = open_page(viewport={"width": width, "height": 640})
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    inside = """(all, width) => all.filter(one => one.closest(".scroll, svg, .bar") === null && one.closest(".skip") === null)
        .map(one => [one.className, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.right > width + 1)
        .map(([name, box]) => `${name} ${box.right}`)"""
    assert page.locator("main *").evaluate_all(inside, width) == []  # nothing is clipped at the right
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX") == "auto"


@pytest.mark.parametrize("width", [390, 1400])
def test_axes_have_numbers_that_are_apart_and_inside_their_chart(open_page, width):
    page = open_page(viewport={"width": width, "height": 900})
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    script = """charts => charts.map(chart => [...chart.querySelectorAll("svg[role=img], .scale svg")].map(svg => {
        const box = one => { const r = one.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom] };
        return {chart: box(chart), ticks: [...svg.querySelectorAll(".tick")].map(one => [one.textContent, ...box(one)])};
    }))"""
    for name, fewest in (("gap", 4), ("plot", 10), ("bars", 4)):
        charts = page.locator(f".chart.{name}").evaluate_all(script)
        drawn = [svg for chart in charts for svg in chart if svg["ticks"]]
        assert len(drawn) >= len(charts) >= 2
        for svg in drawn:
            ticks, (left, right, *_) = svg["ticks"], svg["chart"]
            assert len(ticks) >= fewest and all(float(text) >= 0 for text, *_ in ticks)
            assert all(x0 >= left and x1 <= right for _, x0, x1, *_ in ticks)
            for n, (_, x0, x1, y0, y1) in enumerate(ticks):
                others = ticks[n + 1 :]
                assert not any(x0 < b and a < x1 and y0 < d and c < y1 for _, a, b, c, d in others), (name, ticks)


def test_latex_is_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".contents a").last.click()  # the published numbers
    page.locator("button.latex").last.click()
    page.locator("#copied:text('Copied')").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(r"\begin{table}") and r"Old & 0.5 \\" in text and text.rstrip().endswith(r"\end{table}")


def test_latex_is_shown_where_the_clipboard_is_denied(open_page):
    page = open_page()
    page.locator(".contents a").last.click()
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('denied') } }")
    page.locator("button.latex").last.click()
    page.locator("dialog[open]").wait_for()
    assert page.evaluate("getSelection().toString()").startswith(r"\begin{table}")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_names_from_outside_stay_text(open_page):
    page = open_page()
    page.select_option("[name=class]", EVIL)
    assert EVIL in page.locator(".card .facts").first.text_content()
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_accessibility(open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    report = axe.Axe().run(page).response
    assert len(report["passes"]) > 20
    page.locator(".card .enlarge").first.click()
    violations = report["violations"] + axe.Axe().run(page).response["violations"]  # of any impact
    wrong = [(one["impact"], one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in violations]
    assert not wrong


def test_only_the_first_data_set_is_unfolded_and_a_link_opens_its_section(open_page):
    page = open_page(viewport={"width": 390, "height": 800})
    titles = page.locator(".contents a").all_text_contents()
    assert titles[0] == "The gap" and "Gallery" in titles and len(titles) == len(set(titles)) >= 5
    opened = "all => all.filter(one => one.open).map(one => one.querySelector('h2').textContent)"
    assert page.locator("details.fold").evaluate_all(opened) == ["rail (test, 16 images)"]
    page.locator(".contents a").last.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.fold").evaluate_all(opened)[-1] == titles[-1]
    assert page.locator("details.fold summary").last.bounding_box()["y"] < 800
