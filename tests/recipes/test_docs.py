"""The commands of README and docs: every one names what exists and a config that loads; docs/your-own-data.md is walked through."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis import data
from samis.cli import VERBS
from samis.cli.parser import build
from samis.config import Experiment, Pretraining, load_config
from samis.core.shipped import shipped_configs
from samis.data import load_dataset

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / d / "README.md" for d in ("train", "evaluate")),
]
SMALLER = {
    "train": ["training.epochs=1", "data.limit=4", "training.validate_every=1", "training.gallery=1"],
    "baseline": ["training.epochs=1", "data.limit=4", "frame.frame_px=64", "training.gallery=1"],
    "sweep": ["--random", "1", "data.limit=4", "training.gallery=1"],
    "score": ["metrics.bootstrap=20"],
}
"""What makes a documented command short, added behind it."""
TAKE_A_CONFIG = {"train", "baseline", "pretrain", "score", "check", "sweep", "predict"}


def commands(page):
    """Return the commands in a page's code blocks, without comments and environment."""
    result = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines() if language in ("", "bash") else ():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
                words = words[1:]
            if words and words[0] in ("python", "samis", "accelerate", "tensorboard", "make", "git", "pip"):
                result.append(words)
    return result


def split_command(words):
    """Return (verb, its arguments) of a command that is `samis VERB ...` or runs a launch script; else None."""
    if words[0] == "samis":
        return (words[1], words[2:]) if not words[1].startswith("-") else None
    if words[0] == "accelerate" and "-m" in words:
        rest = words[words.index("-m") + 1 :]
        assert rest[0] == "samis"
        return rest[1], rest[2:]
    script = next((word for word in words if word.endswith(".py")), None)
    if script is None or not (ROOT / script).is_file():
        return None
    verb = re.search(r'script\("([\w-]+)"\)', (ROOT / script).read_text(encoding="utf-8"))
    return (verb[1], words[words.index(script) + 1 :]) if verb else None


ALL = [(page, words) for page in PAGES for words in commands(page)]


def test_there_are_commands():
    assert len(ALL) > 40 and len({page for page, _ in ALL}) > 8


@pytest.fixture
def names_of_the_page(page, monkeypatch):
    """Let the schema know the data set that a page on adding one registers (``DATASETS`` gets its line, as a reader's does)."""
    text = page.read_text(encoding="utf-8")
    if "in `samis/data/__init__.py`" in text:
        lines = re.findall(r"^\"(\w+)\": load_\w+,$", text, flags=re.M)
        assert lines, f"{page.name}: no line for DATASETS"
        monkeypatch.setattr(data, "DATASETS", data.DATASETS | dict.fromkeys(lines))


@pytest.mark.usefixtures("names_of_the_page")
@pytest.mark.parametrize(("page", "words"), ALL, ids=[f"{page.stem}: {' '.join(words)[:60]}" for page, words in ALL])
def test_a_command_names_what_exists(page, words):
    if words[0] == "make":
        targets = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        rules = (ROOT / "Makefile").read_text() + (ROOT / "reproduce.mk").read_text()
        assert targets and all(re.search(rf"^{target}:", rules, flags=re.M) for target in targets)
        return
    for script in (word for word in words if word.endswith(".py") and word != "registers.py"):
        assert (ROOT / script).is_file(), f"{page.name}: no {script}"
    if "--config_file" in words:
        assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    command = split_command(words)
    if command is None:
        return
    verb, rest = command
    assert verb in VERBS, f"{page.name}: no verb {verb}"
    known = {option for action in build(verb)._actions for option in action.option_strings}
    for option in (word for word in rest if word.startswith("--") and verb != "how-long"):
        assert option.partition("=")[0] in known, f"{page.name}: samis {verb} has no {option}"
    if verb not in TAKE_A_CONFIG or "DIR" in words or not rest:
        return
    names = {name for name in shipped_configs() if name == rest[0]}
    config = next((word for word in rest if word.startswith("configs/")), None)
    config = str(shipped_configs()[rest[0]]) if names else config
    if config is None:
        return
    if not (ROOT / config).exists():
        assert page.name.startswith("adding-"), f"{page.name}: no {config}"
        return
    overrides = [word for word in rest if re.match(r"[a-z_]+(\.\w+)*=", word)]
    if verb == "sweep":
        overrides = [re.split(r",(?![^\[]*\])|\.\.", word)[0] for word in overrides]
    load_config(ROOT / config, overrides, schema=Pretraining if verb == "pretrain" else Experiment)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A user's folder: the scripts and configs by link, a few drawn photos with masks, and new ones without."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("train", "evaluate", "configs"):
        (folder / name).symlink_to(ROOT / name)
    drawn = load_dataset("procedural", split="train", surface="steel", count=24, clean_share=0.0)
    for index, sample in enumerate(drawn[i] for i in range(len(drawn))):
        for kind, picture in (("images", sample.image), ("masks", sample.mask.astype(np.uint8) * 255)):
            (folder / "my_photos" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "my_photos" / kind / f"p{index}.png")
    (folder / "photos").mkdir()
    Image.fromarray(load_dataset("procedural", split="test", surface="steel", count=1)[0].image).save(
        folder / "photos/new.png"
    )
    return folder


def run(words, folder):
    verb, _ = split_command(words)
    start = ["-m", "samis", *words[1:]] if words[0] == "samis" else words[1:]
    line = [sys.executable, *start, *SMALLER.get(verb, [])]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "PYTHONPATH": path}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    allowed = (0, 1) if verb == "check" else (0,)
    assert done.returncode in allowed, f"{' '.join(words)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_your_own_data_from_check_to_predictions(workspace):
    page = ROOT / "docs/your-own-data.md"
    walked = [words for words in commands(page) if words[0] in ("python", "samis")]
    assert len(walked) >= 10
    for words in walked:
        run(words, workspace)
    report = (workspace / "report/index.html").read_text(encoding="utf-8")
    assert "own_lora" in report and len(list((workspace / "rows").glob("*.json"))) >= 10
    assert Image.open(workspace / "predictions/masks/new.png").size == (200, 200)
    assert (workspace / "sheet.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["predict.md", "export.md"])
def test_the_pages_on_a_run(workspace, page):
    runs = workspace / "checkpoints/runs"
    if not (runs / "own_lora").exists():
        run(["python", "train/adapt.py", "configs/own.yaml"], workspace)
    if not (runs / "demo_lora").exists():
        (runs / "demo_lora").symlink_to(runs / "own_lora")
    walked = [words for words in commands(ROOT / "docs" / page) if words[0] in ("python", "samis")]
    assert walked
    for words in walked:
        run(words, workspace)
