"""Names from outside (files, classes, rows, data sets) stay text in every page of a report, and name no file elsewhere."""

from __future__ import annotations

import re
import runpy
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.evaluation.score_row import ScoreRow

ROOT = Path(__file__).resolve().parents[2]
NASTY = {
    "script": "<script>alert('canary')</script>",
    "end": "</script><script>canary()</script>",
    "picture": "\"><img src=x onerror='canary()'>",
    "attribute": "' onmouseover='canary()' x='",
    "comment": "--><svg onload=canary()><!--",
    "template": "{{ 7 * 7 }}{% raw %}${canary}",
    "link": "[canary](javascript:canary())",
    "table": "a | canary\n\n# canary <b>bold</b>",
    "latex": "\\input{/etc/passwd} % canary",
    "path": "../../canary",
}
PLAIN = {key: f"canary {key}" for key in NASTY}


class Page(HTMLParser):
    """Counts elements with the names of their attributes, and keeps what scripts say."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")
        for name, value in attrs:
            assert not name.startswith("on") or "canary" not in (value or "")
            assert name not in ("href", "src") or not (value or "").strip().lower().startswith("javascript")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def report(folder: Path, names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write rows whose every name is one of `names`, and a report of them; return its folder."""
    for number, (key, name) in enumerate(names.items()):
        kind = ("zero_shot", "tuned", "baseline")[number % 3]
        images = [
            {"id": f"{other} {image}", "class_name": other, "mae": 0.02 * image + 0.01 * number}
            for image, other in enumerate(names.values())
        ]
        per_class = {other: {"mae": 0.1, "n_images": 1} for other in names.values()}
        ScoreRow(
            name=f"{name} {key}", kind=kind, dataset="steel", split=f"test {names['script']}", n_images=len(images),
            prompt=name if kind == "zero_shot" else "none", mask_rule=name, oracle=False, protocol="pysod",
            metrics={"mae": 0.15 + 0.01 * number}, directions={"mae": -1}, curves={"precision": [0.5] * 256, "recall": [0.5] * 256},
            per_class=per_class, images=images, provenance={"commit": name, "data_fingerprint": "f" * 64},
        ).save(folder / "rows" / f"row{number}.json")  # fmt: skip
    command = ["evaluate/compare.py", str(folder / "rows"), "--out", str(folder / "report")]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(folder)
    try:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    except SystemExit as ended:
        assert not ended.code
    return folder / "report"


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The report of nasty names, and the same report of plain ones."""
    return report(tmp_path / "a" / "nasty", NASTY, monkeypatch), report(tmp_path / "a" / "plain", PLAIN, monkeypatch)


def test_names_stay_text_in_every_file_of_a_report(reports: tuple[Path, Path], tmp_path: Path) -> None:
    nasty, _ = reports
    pages = [Page((folder / "index.html").read_text(encoding="utf-8")) for folder in reports]
    assert sum(pages[0].elements.values()) > 50
    assert pages[0].elements == pages[1].elements, "names must make no element and no attribute"
    assert len(pages[0].scripts) == len(pages[1].scripts)

    markdown = (nasty / "report.md").read_text(encoding="utf-8")
    assert "canary" in markdown
    assert not re.search(r"<(?!br>|/?sub>|/?details|/?summary)[a-z!/]", markdown, re.IGNORECASE)
    assert not re.search(r"(?<!\\)\]\(javascript", markdown)
    assert not re.search(r"^# canary", markdown, re.MULTILINE)
    counts = [
        Counter(re.sub(r"\\\|", "", line).count("|") for line in (f / "report.md").read_text("utf-8").splitlines())
        for f in reports
    ]
    assert counts[0] == counts[1], "names must open no cell of a table"

    latex = (nasty / "table.tex").read_text(encoding="utf-8")
    assert "canary" in latex and "\\input" not in latex

    allowed = {Path("nasty/rows"), Path("nasty/report"), Path("plain/rows"), Path("plain/report")}
    files = [path.relative_to(tmp_path / "a") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if not any(path.is_relative_to(folder) for folder in allowed)]


def test_an_image_named_like_a_path_stays_in_its_folder(tmp_path: Path) -> None:
    from samis.data.own.folder import load_folder

    for part, values in (
        ("i", np.arange(256, dtype=np.uint8).reshape(16, 16)),
        ("m", np.eye(16, dtype=np.uint8) * 255),
    ):
        (tmp_path / "out" / part).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "out" / part / "a.png")
        Image.fromarray(values).save(tmp_path / f"{part}.png")
    (tmp_path / "in").mkdir()
    lines = ["image,mask", "../i.png,../m.png", "../out/i/a.png,../out/m/a.png", f"{tmp_path}/out/../i.png,../m.png"]
    (tmp_path / "in" / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ids = load_folder(root=tmp_path / "in" / "pairs.csv", split="all").ids
    assert len(ids) == 3
    for key in ids:
        assert "/" not in key and (tmp_path / f"{key}.png").resolve().parent == tmp_path.resolve()
