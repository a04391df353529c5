"""What evaluate/score.py does: one segmenter, one split, rows and maps on disk, a table on the terminal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from samis.build import build_segmenter, load_run, load_split, score
from samis.config import Experiment
from samis.contracts import Segmenter
from samis.scores import ScoreRow

SHOWN = ("s_measure", "weighted_f", "e_mean", "f_max", "iou", "mae", "overlap_ratio", "pratt")


def score_and_save(
    config: Experiment,
    *,
    split: str | None,
    out: Path,
    name: str | None,
    maps: Path | None = None,
    as_json: bool = False,
) -> list[ScoreRow]:
    """Score what the config names and write ``out/<row>.json``; return the rows.

    Args:
        config: the experiment; for a run, its own config with ``segmenter.name=run``.
        split: the split; None takes ``data.test``.
        out: folder of the rows. name: of the row; None makes one.
        maps: folder for 8-bit maps, or None.
        as_json: print JSON lines instead of a table.
    """
    segmenter, config, made = _segmenter(config)
    dataset = load_split(config.data, split or config.data.test)
    name = name or made
    every_rule = config.segmenter.name == "sam" and config.segmenter.mask_rule == "all"
    on_map = (
        _map_writer(maps, lambda rule: _stem(_label(name, rule), config.data.name, dataset.split)) if maps else None
    )
    rows = score(segmenter, config, dataset, name=name, every_rule=every_rule, on_map=on_map)
    for row in rows:
        path = row.save(out / f"{_stem(row.name, row.dataset, row.split)}.json")
        if as_json:
            print(json.dumps({"name": row.name, "file": str(path), **row.metrics}))
    if not as_json:
        print(table(rows))
    return rows


def table(rows: list[ScoreRow]) -> str:
    """Return rows as aligned text."""
    columns = [metric for metric in SHOWN if metric in rows[0].metrics] or list(rows[0].metrics)[:8]
    width = max(len(row.name) for row in rows) + 9
    lines = [f"{rows[0].dataset}, {rows[0].split}, {rows[0].n_images} images, protocol {rows[0].protocol}"]
    lines.append(" " * width + "".join(f"{column:>14s}" for column in columns))
    for row in rows:
        label = row.name + (" (oracle)" if row.oracle else "")
        lines.append(
            f"{label:{width}s}" + "".join(f"{row.metrics.get(column, float('nan')):14.4f}" for column in columns)
        )
        if row.clean:
            area, kept = row.clean["false_positive_area"], row.clean["kept_clean"]
            lines.append(
                f"  {row.clean['n_images']:.0f} clean images apart: {kept:.0%} kept clean, false-positive area {area:.2%}"
            )
        if row.empty_maps:
            lines.append(f"  {row.empty_maps} of {row.n_images} maps were empty")
    return "\n".join(lines)


def _segmenter(config: Experiment) -> tuple[Segmenter, Experiment, str]:
    """Return segmenter, the config whose data, frame and prompt are used, and a name for the row."""
    s = config.segmenter
    if s.name == "run":
        run = load_run(s.run or "")
        # Data, and only data, may differ from what the run was tuned on; frame and prompt are part of what was learnt.
        run.config.data, run.config.metrics = config.data, config.metrics
        return run.segmenter, run.config, run.config.experiment
    segmenter = build_segmenter(config)
    if s.name == "saved_maps":
        return segmenter, config, Path(s.maps or "").name
    return segmenter, config, f"{s.architecture} zero-shot, {config.prompt.kind}"


def _label(name: str, rule: str) -> str:
    return f"{name}, {rule}" if rule else name


def _stem(name: str, dataset: str, split: str) -> str:
    """Return a file stem such as ``sd_saliency_900-test-samis_tiny_zero-shot_grid_contrast``."""
    return "-".join(re.sub(r"[^\w.+-]+", "_", part).strip("_") for part in (dataset, split, name))


def _map_writer(folder: Path, stem: Callable[[str], str]) -> Callable[[str, str, np.ndarray], None]:
    def write(rule: str, sample_id: str, map_u8: np.ndarray) -> None:
        path = folder / stem(rule) / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        Image.fromarray(map_u8).save(temporary, format="PNG")
        os.replace(temporary, path)

    return write
