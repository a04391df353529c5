"""The worked example of docs/adding-a-baseline.md, taken from the page, keeps the contract that the others keep."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from samis.baselines import BASELINES
from samis.config import Experiment, load_config

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "adding-a-baseline.md"
PLUGIN = '''"""Registers the page's network, and only it, before the contract is collected."""
import samis.baselines as baselines
from samis.baselines import Baseline
from pyramid import Pyramid
added = {ENTRY}
baselines.BASELINES.clear()
baselines.BASELINES.update(added)
'''


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def test_the_page_keeps_the_contract(tmp_path):
    network, line = blocks("python")
    (tmp_path / "pyramid.py").write_text(network)
    (tmp_path / "registers.py").write_text(PLUGIN.replace("ENTRY", line.strip()))
    code = (
        f"import sys, pytest; sys.path.insert(0, {str(tmp_path)!r}); import registers; "
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'tests/unit/baselines/test_contract.py', '-k', 'pyramid']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 8, done.stdout


def test_the_pages_config_resolves(tmp_path, monkeypatch):
    """Once the page's line stands in the table; before, its name is refused."""
    (text,) = blocks("yaml")
    monkeypatch.setitem(BASELINES, "pyramid", None)
    path = tmp_path / "pyramid.yaml"
    path.write_text(text)
    config = load_config(path, schema=Experiment)
    assert config.segmenter.name == "pyramid" and yaml.safe_load(text)["experiment"] == config.experiment


def test_the_page_names_what_exists():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"(?:samis|train|evaluate|tests|docs)/[\w/.-]+\.(?:py|md)", text)
    assert len(named) >= 5
    for name in named:
        assert "pyramid" in name or (ROOT / name).exists(), name
