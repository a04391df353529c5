"""Change one line at a time, run the tests that own it, and say which wrong version none of them noticed.

  python tests/mutants/run.py                  # all of them (about ten minutes)
  python tests/mutants/run.py gap evaluator    # those whose name holds one of these words
  python tests/mutants/run.py --rotation 5     # the five whose turn it is at this commit, as in CI

Each runs in a copy of the tree; the tree itself is never changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("samis", "tests", "train", "evaluate", "configs", "pyproject.toml")
"""What tests need of the tree; what is large is linked."""
LINKED = ("checkpoints",)
TESTS_FAILED = 1
"""pytest's exit code where tests ran and some failed; any other is an error of the row, not a mutant that was noticed."""


def turn(count: int, *, mutants: Sequence[Mutant] = MUTANTS) -> list[Mutant]:
    """Return the `count` mutants whose turn it is: the next ones at each commit, so that all come up."""
    counted = subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    start = int(counted.stdout) * count if counted.returncode == 0 else 0
    return [mutants[(start + k) % len(mutants)] for k in range(count)]


def copy_tree(place: Path) -> None:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__", "results")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=ignore)
        else:
            shutil.copy2(source, place / name)
    for name in LINKED:
        os.symlink(ROOT / name, place / name)


def noticed(mutant: Mutant, tree: Path) -> str:
    """Return "" if a test failed on the mutant, else what happened.

    Args:
        mutant: the wrong version.
        tree: a copy of the tree; put back as it was before returning.
    """
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.right) != 1:
        return f"{mutant.file}: expected the right text once, found it {text.count(mutant.right)} times; renew the row"
    path.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, env=env, timeout=3600)
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode == TESTS_FAILED:
        return ""
    tail = "\n".join(done.stdout.splitlines()[-15:])
    return f"pytest ended with {done.returncode}, expected {TESTS_FAILED}:\n{tail}{done.stderr[-500:]}"


def run(mutants: Sequence[Mutant]) -> list[str]:
    """Try each; print a line for each; return those that were not noticed, with the reason."""
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        for mutant in mutants:
            reason = noticed(mutant, tree)
            print(f"{'SURVIVES' if reason else 'noticed '}  {mutant.name}", flush=True)
            if reason:
                survivors.append(f"{mutant.name}: {reason}")
    return survivors


def main() -> int:
    """Read the arguments and run; 1 if a mutant survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run those whose name holds one of these words")
    parser.add_argument("--rotation", type=int, default=0, metavar="N", help="run the N whose turn it is")
    args = parser.parse_args()
    chosen = turn(args.rotation) if args.rotation else MUTANTS
    if args.words:
        chosen = [mutant for mutant in chosen if any(word in mutant.name for word in args.words)]
    if not chosen:
        print(f"no mutant's name holds {', '.join(args.words)}", file=sys.stderr)
        return 2
    survivors = run(chosen)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} noticed")
    for survivor in survivors:
        print(survivor, file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
