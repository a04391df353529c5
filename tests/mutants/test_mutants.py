"""The mutants whose turn it is are noticed, and the table is sound; `run.py` beside this tries all."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from run import ROOT, turn
from table import MUTANTS

ROTATION = 5


def test_rows_are_sound():
    assert len(MUTANTS) >= 36
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.right) == 1, (
            f"{mutant.name}: renew the row"
        )
        assert mutant.right != mutant.wrong
        assert all((ROOT / word).exists() for word in mutant.tests.split() if not word.startswith("-"))


def test_every_mutant_has_its_turn():
    assert {turn(1, mutants=MUTANTS[k:] + MUTANTS[:k])[0].name for k in range(len(MUTANTS))} == {
        m.name for m in MUTANTS
    }


def test_those_whose_turn_it_is_are_noticed():
    command = [sys.executable, str(HERE / "run.py"), "--rotation", str(ROTATION)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_all_are_noticed():
    done = subprocess.run([sys.executable, str(HERE / "run.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
