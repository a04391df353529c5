"""Rows, adapters and configs that are committed name no folder of the machine that made them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = re.compile(r"(?<![\w.:/<-])/(?:home|root|tmp|work|mnt|data|Users|var|opt|scratch)/")


def test_no_committed_record_names_a_folder_of_its_machine():
    kinds = ("evaluate/results/**/*.json", "checkpoints/**/*.json", "checkpoints/**/*.yaml", "configs/**/*.yaml")
    found = [path for kind in kinds for path in sorted(ROOT.glob(kind)) if "runs" not in path.relative_to(ROOT).parts]
    assert len(found) > 100
    named = [str(path.relative_to(ROOT)) for path in found if PLACE.search(path.read_text(encoding="utf-8"))]
    assert not named, f"{len(named)} files, such as {named[:3]}: write the paths relative to the checkout"
