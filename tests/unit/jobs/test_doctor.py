import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from samis.jobs.doctor import as_dict, examine_machine

ROOT = Path(__file__).resolve().parents[3]


def facts_by_name(runs):
    return {fact.name: fact for fact in examine_machine(runs)}


def test_a_sound_machine(tmp_path):
    facts = facts_by_name(tmp_path)
    assert facts["torch and torchvision"].severity == "ok"
    assert (
        facts["weights of samis_lite"].severity == "ok" and "(not checked)" not in facts["weights of samis_lite"].value
    )
    assert facts["weights of vit_b"].severity == "note" and "download('vit_b')" in facts["weights of vit_b"].advice
    assert all(fact.advice for fact in facts.values() if fact.severity != "ok")


@pytest.mark.parametrize(("missing", "severity"), [("samis", "ok"), ("timm", "error")])
def test_only_samis_itself_may_be_run_without_being_installed(monkeypatch, tmp_path, missing, severity):
    real = metadata.version

    def version(name):
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return real(name) if name != "samis" else "0"

    monkeypatch.setattr(metadata, "version", version)
    fact = facts_by_name(tmp_path)[missing]
    assert fact.severity == severity and "not installed" in fact.value
    assert (str(ROOT) in fact.value) == (missing == "samis")


def test_damaged_weights_and_cut_runs_are_found(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "checkpoints/samis_lite", tmp_path / "samis_lite")
    weights = tmp_path / "samis_lite/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam/sam_vit_b_01ec64.pth").write_bytes(b"half a download")
    (tmp_path / "runs/cut").mkdir(parents=True)
    (tmp_path / "runs/cut/config.yaml").write_text("")
    monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
    facts = facts_by_name(tmp_path / "runs")
    for name in ("weights of samis_lite", "weights of vit_b"):
        assert facts[name].severity == "error" and "delete it" in facts[name].advice
    assert "runs/cut" in facts["runs"].advice
    assert as_dict(list(facts.values()))["counts"]["error"] == 2


def test_the_script_answers_machines(tmp_path):
    done = subprocess.run(
        [sys.executable, "evaluate/doctor.py", "--json", "--runs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["error"] == 0
