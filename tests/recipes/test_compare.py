"""The real command: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.evaluation.score_row import ScoreRow

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "evaluate" / "compare.py"), *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, timeout=3600
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Zero-shot 0.5, tuned 0.8, specialised 0.9 on three images."""
    for kind, value in (("zero_shot", 0.5), ("tuned", 0.8), ("saved_maps", 0.9)):
        images = [
            {"id": name, "class_name": "blob", "s_measure": value + step}
            for name, step in (("a", -0.1), ("b", 0.0), ("c", 0.1))
        ]
        ScoreRow(
            name=f"my {kind}",
            kind=kind,
            dataset="folder",
            split="test",
            n_images=3,
            prompt="none",
            mask_rule=None,
            oracle=False,
            protocol="pysod",
            metrics={"s_measure": value},
            directions={"s_measure": 1},
            images=images,
        ).save(tmp_path / "rows" / f"{kind}.json")
    return tmp_path / "rows"


def test_prints_the_table_and_the_answer(rows, tmp_path):
    readme = tmp_path / "README.md"
    results = tmp_path / "results.md"
    for page in (readme, results):
        page.write_text("# Mine\n<!-- answer:begin -->\n<!-- answer:end -->\nrest\n")
    done = run(rows, "--out", "report", "--readme", readme, "--results", results, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = (
        "folder (test, 3 images): zero-shot SAM (my zero_shot) reaches S 0.500; my tuned reaches 0.800, 75 % (95 % "
        "interval 75 to 75 %) of the way to the best specialised network (my saved_maps, 0.900)."
    )
    assert answer in done.stdout and "my saved_maps" in done.stdout
    for name in ("report.md", "rows.csv", "table.tex", "index.html", "figures/gap.png"):
        assert (tmp_path / "report" / name).stat().st_size > 0
    short = (
        "On folder, tuned SAM reaches S 0.800, untouched SAM 0.500, the best specialised network 0.900.\n\nUntouched SAM is SAM "
        "before tuning (zero-shot). Each kind is represented by the row that is best by S on these images.\n\nTuning SAM closes "
        "75 % of the gap to the best specialised network on folder (S 0.500 → 0.800, best 0.900).\n"
    )
    for page, content in ((readme, short), (results, answer), (results, "| my saved_maps | **0.900** | – |")):
        text = page.read_text()
        assert content in text and text.startswith("# Mine\n") and text.endswith("<!-- answer:end -->\nrest\n")
    assert len(readme.read_text().splitlines()) < 18  # the long tables are in the other page


def test_published_numbers_have_tables_of_their_own(rows, tmp_path):
    for path in rows.glob("*.json"):
        path.write_text(path.read_text().replace('"folder"', '"sd_saliency_900"'))
    done = run(rows, "--published", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured, published = (
        (tmp_path / "report" / "report.md").read_text().split("## Published numbers, not measured here")
    )
    assert "DACNet" not in measured and "DACNet" in published
    assert "540 of them were training images" in published


def test_draws_panels_from_maps(rows, tmp_path):
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in "abc":
        mask = np.zeros((24, 32), np.uint8)
        mask[4:12, 6:20] = 255
        for kind, values in (("images", rng.integers(0, 256, (24, 32), dtype=np.uint8)), ("masks", mask)):
            (data / "test" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(data / "test" / kind / f"{name}.png")
        for stem in ("zero_shot", "tuned"):
            (tmp_path / "maps" / stem).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask // 2).save(tmp_path / "maps" / stem / f"{name}.png")
    done = run(rows, "--maps", "maps", "--data-root", f"folder={data}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "figures" / "folder_test_panel.png").stat().st_size > 0
    assert "best, median and worst images of my tuned" in (tmp_path / "report" / "report.md").read_text()

    page = (tmp_path / "report" / "index.html").read_text()
    exhibits = json.loads(page.partition('id="exhibits">')[2].partition("</script>")[0])
    assert {one["id"] for one in exhibits} == set("abc")
    assert all(set(one["layers"]) == {"truth", "zero_shot", "tuned"} for one in exhibits)
    assert exhibits[0]["area"] == pytest.approx(8 * 14 / (24 * 32))
    assert "10–30 %" in page  # 112 of 768 pixels: the bin of the histogram

    (tmp_path / "maps" / "tuned" / "b.png").unlink()
    done = run(rows, "--maps", "maps", "--data-root", data, cwd=tmp_path)
    assert done.returncode == 2 and "b.png" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: expected a score row"),
        (["rows", "--metrics", "iuo"], "E-ROW-METRICS"),
        (["rows", "--tuned", "other"], "my tuned [E-ROW-TUNED-NAME]"),
        (["rows", "--maps", "nowhere"], "expected a folder of maps"),
        (["rows", "--readme", "rows/tuned.json"], "E-ROW-MARKERS"),
        (["rows", "--readme", "missing.md"], "missing.md"),
        (["broken"], "bad.json"),
        (["rows", "--out", "rows/tuned.json"], "expected a folder for the report"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(rows, tmp_path, arguments, message):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "bad.json").write_text(json.dumps({"a": 1}))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report").exists()


def test_help_is_quick(tmp_path):
    start = time.perf_counter()
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0 and "examples:" in done.stdout
    assert time.perf_counter() - start < 5  # 0.1 s when nothing else runs; importing torch would show
