"""Writes the page of a folder of predictions, ``index.html``, from its ``predictions.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samis.core.files import write_atomic
from samis.drift.fingerprint import drift_lines
from samis.errors import UserError
from samis.reporting.render.predictions_page import render_predictions

UNLIKE = 'the choice "unlike the training photos" below shows which and why'


def write_predictions_page(out: str | Path) -> Path:
    """Write the page and return its path.

    Args:
        out: folder of predictions, as ``samis.prediction.predict_to`` leaves it.
    """
    out = Path(out)
    summary = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    page = render_predictions(
        summary["image_list"],
        model=Path(summary["settings"].get("model", "a segmenter")).name,
        rule=summary["verdicts"]["rule"],
        threshold=summary["verdicts"]["threshold"],
        failed=summary["failed"],
        mm_per_px=summary["mm_per_px"],
        notes=_notes(summary),
    )
    write_atomic(out / "index.html", page)
    return out / "index.html"


@contextmanager
def page_if_interrupted(out: Path, *, active: bool = True) -> Iterator[None]:
    """Write the page of what there is when predicting ends early, so that it agrees with the tables.

    Args:
        out: folder of predictions.
        active: whether this process writes it.
    """
    try:
        yield
    except UserError:  # refused: the folder is as it was
        raise
    except BaseException:
        path = out / "predictions.json"
        if active and path.is_file() and "image_list" in json.loads(path.read_text(encoding="utf-8")):
            write_predictions_page(out)
        raise


def _notes(summary: dict[str, Any]) -> list[str]:
    """Return notes on the threshold of the pixels, on what is promised, and on photos unlike the training photos."""
    source = "the threshold that keeps the promise" if "promise" in summary else summary["threshold_from"]
    notes = [f"Pixels above {summary['settings']['threshold']:.3g} are defects ({source})."]
    if "promise" in summary:
        notes.append(f"Promise: {summary['promise']['promise']}.")
    if summary.get("drift"):
        notes += [f"{line[0].upper()}{line[1:]}." for line in drift_lines(summary["drift"], where=UNLIKE)]
    return notes
