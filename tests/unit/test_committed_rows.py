"""Rows, adapters and configs that are committed name no folder of the machine that made them."""

import json
import re
from pathlib import Path

from samis.evaluation.score_row import read_row
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.finds import finds
from samis.reporting.analysis.separate import separate_rows

ROOT = Path(__file__).resolve().parents[2]
PLACE = re.compile(r"(?<![\w.:/<-])/(?:home|root|tmp|work|mnt|data|Users|var|opt|scratch)/")


def test_no_committed_record_names_a_folder_of_its_machine():
    kinds = ("evaluate/results/**/*.json", "checkpoints/**/*.json", "checkpoints/**/*.yaml", "configs/**/*.yaml")
    found = [path for kind in kinds for path in sorted(ROOT.glob(kind)) if "runs" not in path.relative_to(ROOT).parts]
    assert len(found) > 100
    named = [str(path.relative_to(ROOT)) for path in found if PLACE.search(path.read_text(encoding="utf-8"))]
    assert not named, f"{len(named)} files, such as {named[:3]}: write the paths relative to the checkout"


def test_readme_and_results_say_what_the_committed_rows_hold():
    """Sentences of both pages are those of the rows; one is compared with the file of the row that it is about."""
    rows = [read_row(path) for path in sorted((ROOT / "evaluate/results").rglob("*.json"))]
    by_group = answers(separate_rows(rows).main)
    sentences = [find.sentence for find in finds(by_group)]
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")]
    assert len(sentences) == 4 and all(sentence in page for sentence in sentences for page in pages)
    stem = "evaluate/results/steel/sd_saliency_900-test-"
    recalls = [
        json.loads((ROOT / f"{stem}{name}.json").read_text(encoding="utf-8"))["metrics"]["recall"]
        for name in ("LoRA_encoder_+_decoder_384_px", "samis_lite_empty", "TSERNet")
    ]
    tuned, untouched, best = (round(100 * recall) for recall in recalls)
    assert (
        f"tuned SAM finds {tuned} % of the defect area, untouched SAM {untouched} %, the best specialised network {best} %"
        in pages[0]
    )
