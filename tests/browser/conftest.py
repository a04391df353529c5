"""A small report page, and a headless Chromium that refuses to go anywhere but this disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samis.evaluation.rows import choose, group_rows
from samis.evaluation.score_row import ScoreRow
from samis.reporting.render import report
from samis.reporting.render.exhibits import pack
from samis.reporting.render.report import Pictures, build_document, write_document

EVIL = "</script><img src=x onerror=alert(1)>"
COUNT = 16
ROWS = [  # kind, name, oracle, S of each image: base + slope * index
    ("zero_shot", "grid", False, 0.30, 0.010),
    ("zero_shot", "empty", False, 0.20, 0.010),
    ("tuned", "lora", False, 0.50, 0.020),
    ("baseline", "unet", False, 0.90, 0.001),
    ("zero_shot", "box", True, 0.70, 0.010),
]


def rows_of(dataset: str) -> list[ScoreRow]:
    """Return one data set's rows; every second image is a pit, the others bear a class name that tries to break out."""
    rows = []
    for kind, name, oracle, base, slope in ROWS:
        values = [base + slope * number for number in range(COUNT)]
        images = [
            {"id": f"{dataset}{n}", "class_name": "pit" if n % 2 else EVIL, "s_measure": v, "mae": 0.5 - v / 2}
            for n, v in enumerate(values)
        ]
        mean = sum(values) / COUNT
        metrics = {"s_measure": mean, "mae": 0.5 - mean / 2}
        per_class = {EVIL: metrics | {"n_images": 8.0}, "pit": metrics | {"n_images": 8.0}}
        curve = [n / 255 for n in range(256)]
        rows.append(
            ScoreRow(
                name, kind, dataset, "test", COUNT, "box" if oracle else "grid", None, oracle, "pysod", metrics,
                {"s_measure": 1, "mae": -1}, intervals={"s_measure": [mean - 0.01, mean + 0.01]}, per_class=per_class,
                curves={"precision": curve[::-1], "recall": curve, "f_measure": curve, "e_measure": curve}, images=images,
            )
        )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of two data sets, one of them of long images."""
    out = tmp_path_factory.mktemp("report")
    rows = {Path(f"{name}_{row.name}.json"): row for name in ("rail", "steel") for row in rows_of(name)}
    shapes = {"rail": (20, 120), "steel": (40, 50)}
    pictures = {}
    for key, group in group_rows(rows.values()).items():
        height, width = shapes[key[0]]
        image = np.full((height, width, 3), 120, np.uint8)
        mask = np.zeros((height, width), bool)
        mask[5:12, 8:20] = True
        blank = {role: (lambda image_id, hw: np.full(hw, 90, np.uint8)) for role in ("zero_shot", "tuned", "best")}
        exhibits = pack(
            choose(group, "s_measure"), "s_measure", key[0], lambda _, i=image, m=mask: (i, m), blank, count=COUNT
        )
        pictures[key] = Pictures(exhibits=exhibits, areas={one["id"]: float(mask.mean()) for one in group[0].images})
    number = {
        "dataset": "steel",
        "split": "all",
        "noise": 0.0,
        "method": "Old",
        "year": 2020,
        "metric": "WF",
        "value": 0.5,
    }
    published = [number | {"source": "a paper", "caution": "Trained on images scored here."}]
    with pytest.MonkeyPatch.context() as patch:  # the page draws its own charts; those on disk only take time
        for name in ("draw_lanes", "draw_lines"):
            patch.setattr(report, name, lambda _, path, **__: Path(path))
        document, _ = build_document(rows, out, metrics=["s_measure", "mae"], published=published, pictures=pictures)
    write_document(document, rows, out)
    return out / "index.html"


@pytest.fixture(scope="module")
def browser():
    """Start Debian's Chromium.

    It lives no longer than the tests of the page: a data worker that a later test forks would inherit the pipe to the
    driver and keep it open, and closing the driver at the end of the session would wait for ever.
    """
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')"
    )
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        # as root Chromium has no sandbox; what it opens here is a file written by this test
        started = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, page_path):
    """Return an opener of the page; in the end there must have been no console error and no outside request."""
    contexts, wrong = [], []

    def guard(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"request: {route.request.url}")
            route.abort()

    def open_(**options: Any) -> Any:
        context = browser.new_context(reduced_motion="reduce", **options)  # no smooth scrolling under the mouse
        contexts.append(context)
        context.set_default_timeout(300_000)
        context.route("**/*", guard)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(page_path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
