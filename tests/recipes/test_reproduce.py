"""`make reproduce`: the jobs and their order with a stand-in for Python, then the whole of it on drawn data."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samis.config import Experiment, load_config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
DATASETS = {
    "steel": "sd_saliency_900",
    "tile": "magnetic_tile",
    "tile_by_tile": "magnetic_tile (by tile)",
    "rail": "rsdds",
}
STAND_IN = """#!{python} -S
import os, re, sys
from pathlib import Path
words = sys.argv[1:]
with open({seen!r}, "a") as file:
    file.write(repr(words) + "\\n")
if os.environ.get("BREAK") and os.environ["BREAK"] in " ".join(words):
    print("some progress")
    print("error: data.root: expected a folder, got none")
    sys.exit(2)
for word in words:
    if word.startswith("training.out=") and "how_long" not in words[0]:
        folder = Path(word.partition("=")[2])
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text("{{}}")
if "evaluate/score.py" in words:
    out, name = (words[words.index(option) + 1] for option in ("--out", "--name"))
    data = {datasets!r}[Path(out).name]
    for rule in ("top_iou", "oracle_best") if "segmenter.mask_rule=all" in words else ("",):
        row = name + ", " + rule if rule else name
        Path(out).mkdir(parents=True, exist_ok=True)
        noise = [float(word.partition("=")[2]) for word in words if word.startswith("data.salt_pepper=")]
        split = "test +%g%% salt-and-pepper" % (100 * noise[0]) if noise else "test"
        parts = [re.sub(r"[^\\w.+-]+", "_", part).strip("_") for part in (data, split, row)]
        (Path(out) / ("-".join(parts) + ".json")).write_text("{{}}")
"""


@pytest.fixture
def stand_in(tmp_path):
    """A folder whose `python` writes down what it is asked and leaves the files of a job that went well."""
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = tmp_path / "seen.txt"
    script = STAND_IN.format(python=sys.executable, seen=str(seen), datasets=DATASETS)
    (folder / "python").write_text(script, encoding="utf-8")
    (folder / "python").chmod(0o755)
    return folder


def make(*words, check=True, **environment):
    clean = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "BIN", "ROWS", "RUNS")
    }
    done = subprocess.run(["make", *map(str, words)], cwd=ROOT, env=clean | environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def requested(stand_in):
    import ast

    seen = stand_in.parent / "seen.txt"
    lines = [ast.literal_eval(line) for line in seen.read_text().splitlines()] if seen.exists() else []
    seen.unlink(missing_ok=True)
    return lines


def of(lines, script):
    return [words[1:] for words in lines if words[0].endswith(script)]


def published(tmp_path):
    for method in ("BC", "TSERNet"):
        (tmp_path / "maps" / method).mkdir(parents=True, exist_ok=True)
    return f"PUBLISHED={tmp_path / 'maps'}"


def test_every_job_is_done_once_and_what_is_done_is_left_alone(stand_in, tmp_path):
    out = tmp_path / "out"
    command = ["-j4", "reproduce", f"BIN={stand_in}", f"REPRODUCE={out}", published(tmp_path)]
    done = make(*command)
    lines = requested(stand_in)
    trained = {next(w for w in words if w.startswith("experiment=")) for words in of(lines, "adapt.py")}
    assert trained == {f"experiment={s}_lora" for s in ("steel", "tile", "tile_by_tile", "rail")}
    assert len(of(lines, "baseline.py")) == 8
    # Twelve runs; six prompts and two references on four sets; two folders of published maps.
    assert len(of(lines, "score.py")) == 12 + 4 * 8 + 2
    assert done.stdout.count(" start ") == done.stdout.count(" done ") == 12 + 12 + 4 * 8 + 2
    assert of(lines, "compare.py") == [[str(out / "rows"), "--out", str(out), "--published"]]
    assert lines[-1][0].endswith("compare.py"), "the report comes last"
    assert (out / "logs" / "train-rail_unet.log").exists()
    assert "training.minutes" not in str(lines)

    again = make(*command)
    assert " start " not in again.stdout
    assert [words[0] for words in requested(stand_in) if "how_long" not in words[0]] == ["evaluate/compare.py"]


def test_noise_rows_of_every_training(stand_in, tmp_path):
    out = tmp_path / "out"
    command = ["-j4", "reproduce", f"BIN={stand_in}", f"REPRODUCE={out}", "PUBLISHED=", "SETS=steel", "NOISE=5 20"]
    make(*command)
    noisy = [
        words for words in of(requested(stand_in), "score.py") if any(w.startswith("data.salt_pepper=") for w in words)
    ]
    names = {words[words.index("--name") + 1] for words in noisy}
    assert sorted((Path(words[0]).name, words[1]) for words in noisy) == sorted(
        (f"steel_{recipe}", f"data.salt_pepper={share}")
        for recipe in ("lora", "unet", "f3net")
        for share in ("0.05", "0.2")
    )
    assert len(names) == 3
    assert " start " not in make(*command).stdout, "their files are those that make waits for"


def test_each_command_is_a_config_that_loads(stand_in, tmp_path):
    names = "lora_10_1 lora_30_2 lora_100_3 full"
    extra = (
        " ".join(f"steel.{name}" for name in names.split())
        + " tile.decoder_lora tile.decoder rail.bottleneck tile.scratch"
    )
    make("-j4", "reproduce", f"BIN={stand_in}", f"REPRODUCE={tmp_path / 'out'}", f"EXTRA={extra}", published(tmp_path))
    lines = requested(stand_in)
    commands = [(words[0], words[1:]) for words in lines if words[0].endswith(("adapt.py", "baseline.py", "score.py"))]
    assert len(of(lines, "adapt.py")) == 4 + 8
    for script, words in commands:
        if "score.py" in script and not words[0].startswith("configs/"):
            assert (Path(words[0]) / "provenance.json").exists(), "scored after it was trained"
            continue
        options = {words.index(w) + 1 for w in words if w.startswith("--")}
        overrides = [w for i, w in enumerate(words[1:], 1) if not w.startswith("--") and i not in options]
        config = load_config(ROOT / words[0], overrides, schema=Experiment)
        assert (config.segmenter.name == "sam") == (script == "train/adapt.py" or "score.py" in script) or (
            config.segmenter.name in ("unet", "f3net", "filled_box", "otsu_box", "saved_maps")
        )
        where = config.experiment if "train" in script else Path(words[words.index("--out") + 1]).name
        names = [name for name in DATASETS if where.startswith(name)]
        assert config.data.name == DATASETS[names[-1]].partition(" ")[0], words
        assert config.data.options == ({"split": "by_tile"} if where.startswith("tile_by_tile") else {})


def test_a_broken_job_says_its_last_line_and_the_rest_goes_on_later(stand_in, tmp_path):
    command = ["reproduce", f"BIN={stand_in}", f"REPRODUCE={tmp_path / 'out'}", "SETS=steel rail", "PUBLISHED="]
    done = make("-k", *command, check=False, BREAK="experiment=rail_lora")
    assert done.returncode == 2
    failed = [line for line in done.stderr.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "train-rail_lora" in failed[0] and failed[0].endswith("error: data.root: expected a folder, got none")
    first = requested(stand_in)
    assert not of(first, "compare.py")
    make(*command)
    names = [
        words[-2:] if "score" in words[0] else words[0] for words in requested(stand_in) if "how_long" not in words[0]
    ]
    assert names == ["train/adapt.py", ["--name", "LoRA, encoder + decoder"], "evaluate/compare.py"]


@pytest.mark.parametrize(("jobs", "minutes"), [(6, 12), (1, 240), (4, 30)])
def test_the_minutes_are_shared_out(stand_in, tmp_path, jobs, minutes):
    out = f"REPRODUCE={tmp_path / 'out'}"
    make(f"-j{jobs}", "reproduce", f"BIN={stand_in}", out, "PUBLISHED=", MINUTES=str(minutes))
    lines = requested(stand_in)
    assert not of(lines, "how_long.py"), "with MINUTES nothing is measured first"
    shares = [
        float(re.search(r"training\.minutes=([\d.]+)", " ".join(w))[1]) for w in lines if w[0].startswith("train/")
    ]
    assert len(shares) == 12 and max(shares) < 0.9 * minutes
    assert 3 < max(shares) / min(shares) < 4.1, "tile by tile, at 512 px, gets up to four times what a network gets"
    assert minutes / 4 < sum(shares) / jobs < minutes * 0.9, "most of the time, but not all of it, is training"


def test_minutes_that_are_too_few_are_told(stand_in, tmp_path):
    done = make("-j2", "reproduce", f"BIN={stand_in}", f"REPRODUCE={tmp_path / 'out'}", "MINUTES=1", check=False)
    assert done.returncode == 2
    assert "MINUTES=1 is too short for 12 trainings, 2 at once" in done.stderr
    assert requested(stand_in) == []


def test_python_is_installed_only_where_none_is_named(stand_in, tmp_path):
    assert "-m pip install" in make("-n", "-B", "reproduce").stdout
    assert "-m pip install" not in make("-n", "-B", "reproduce", f"BIN={stand_in}").stdout


def test_committed_rows_are_touched_only_when_asked():
    assert not re.search(r"--out evaluate/results", make("-n", "reproduce", "BIN=x").stdout)
    committed = make("-n", "reproduce", "BIN=x", "ROWS=evaluate/results", "SETS=steel").stdout
    assert "--out evaluate/results/steel" in committed
    there = next((ROOT / "evaluate/results/steel").glob("*-filled_box.json")).name.partition("-test-")[2]
    assert "segmenter.name=filled_box" not in committed and there == "filled_box.json", (
        "a row that is there is left alone"
    )


@pytest.mark.parametrize(
    ("recipes", "prompts", "references"),
    [
        ("lora", "grid", "otsu_box"),
        pytest.param("lora unet f3net", None, None, marks=pytest.mark.slow),
    ],
)
def test_on_drawn_data(tmp_path, recipes, prompts, references):
    """With the real Python: trained, scored, compared; a row that is deleted is the only thing made again."""
    out = tmp_path / "out"
    chosen = [f"ZERO_SHOT={prompts}", f"REFERENCES={references}"] if prompts else []
    command = [
        "-j2", "reproduce", "QUICK=1", f"BIN={tmp_path}", f"REPRODUCE={out}", f"RECIPES={recipes}", *chosen,
    ]  # fmt: skip
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    done = make(*command, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    assert "LoRA, encoder + decoder" in done.stdout
    assert (out / "index.html").is_file()
    rows = {path: json.loads(path.read_text()) for path in (out / "rows" / "steel").glob("*.json")}
    kinds = {row["kind"] for row in rows.values()}
    assert {"zero_shot", "tuned"} <= kinds
    left = next(path for path, row in rows.items() if row["name"] == "otsu_box")
    left.unlink()
    again = make(*command, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    assert again.stdout.count(" start ") == 1 and left.exists()
