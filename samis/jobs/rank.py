"""What samis rank does: predicts unlabelled photos and writes in which order they are worth a label."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.cells import text_cells
from samis.core.files import write_atomic
from samis.errors import ConfigError, UserError, did_you_mean
from samis.jobs.predict import load_model
from samis.prediction import Options, find_photos
from samis.prediction.photos import predict
from samis.prediction.ranking import NEEDS_EMBEDDINGS, RANK_RULES, uncertainty_of

COLUMNS = ("rank", "image", "file", "uncertainty", "verdict")


def check_rule(rule: str) -> None:
    """Refuse an unknown rule.

    Raises:
        ConfigError: names those that there are.
    """
    if rule not in RANK_RULES:
        raise ConfigError(
            f"--rule: expected one of {', '.join(RANK_RULES)}, got {rule!r}{did_you_mean(rule, RANK_RULES)}",
            code="E-PREDICT-RANK-RULE",
        )


def rank_photos(
    model: str | Path, patterns: Sequence[str], *, rule: str = "both", options: Options | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Order photos.

    Args:
        model: run folder, name of a tuned adapter, or config of a zero-shot SAM.
        patterns: files, folders and globs.
        rule: key in ``RANK_RULES``.
        options: how they are predicted.

    Returns:
        a line of ``COLUMNS`` for each photo, the one to label first first, and file -> reason for those that could not be read.

    Raises:
        UserError: an unknown rule or model, no photos, or a rule that needs embeddings of a network that gives none.
    """
    check_rule(rule)
    photos = find_photos(list(patterns))
    loaded = load_model(model)
    failed: dict[str, str] = {}
    lines, embeddings = [], []
    for each in predict(loaded, photos, options or Options(), failed=failed):
        if each.embedding is None and rule in NEEDS_EMBEDDINGS:
            raise UserError(
                f"--rule {rule}: expected a network whose encoder embeds photos, got {model}; use --rule uncertainty",
                code="E-PREDICT-RANK-EMBEDDING",
            )
        uncertainty = round(uncertainty_of(each.map), 6)
        lines.append({"image": each.id, "file": str(each.path), "uncertainty": uncertainty, "verdict": each.verdict})
        embeddings.append(np.zeros(1) if each.embedding is None else each.embedding)
    vectors = np.stack(embeddings) if embeddings else np.zeros((0, 1))
    order = RANK_RULES[rule](np.array([line["uncertainty"] for line in lines]), vectors)
    return [{"rank": place, **lines[index]} for place, index in enumerate(order, 1)], failed


def write_ranking(lines: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the lines as CSV."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(text_cells(line) for line in lines)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, table.getvalue())
