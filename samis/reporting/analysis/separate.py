"""Rows of noisy images and rows of images seen in training, which are compared with the rows of clean and held-out images.

Neither is a result of its own: they have no section and no part in the gap; tables show how far they differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from samis.evaluation.labels import KIND_TITLES, label, number, signed
from samis.evaluation.rows import TableKey, has, table_key
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.table import Block, Cell, Line, Table, column

METRICS = 3
"""How many metrics these tables show, the first ones of a group."""
SEEN = ("train", "trainval", "all")
"""Splits that hold images which trained methods have seen; "all" holds the held-out ones too."""
LEARN_NOTHING = ("BC", "SMD")
"""Published methods without any training (github.com/SongGuorong/MCITF), which show whether held-out images are harder."""
_NOISE = re.compile(r"^(.+) \+([0-9.]+)% salt-and-pepper$")


@dataclass
class SeparatedRows:
    """Rows by their use.

    Attributes:
        main: rows that have sections of their own.
        noisy: rows of noisy images.
        seen: rows of images seen in training.
    """

    main: list[ScoreRow]
    noisy: list[ScoreRow]
    seen: list[ScoreRow]


def separate_rows(rows: Iterable[ScoreRow]) -> SeparatedRows:
    """Separate rows of noisy and of seen images where there are rows to compare them with; others keep sections of their own."""
    rows = list(rows)
    keys = {table_key(row) for row in rows}
    tested = {(row.dataset, row.protocol) for row in rows if row.split == "test"}
    separated = SeparatedRows([], [], [])
    for row in rows:
        noise = _NOISE.match(row.split)
        if noise and (row.dataset, noise[1], *table_key(row)[2:]) in keys:
            separated.noisy.append(row)
        elif row.split in SEEN and (row.dataset, row.protocol) in tested:
            separated.seen.append(row)
        else:
            separated.main.append(row)
    return separated


def noise_table(title: str, key: TableKey, rows: Sequence[ScoreRow], noisy: Iterable[ScoreRow]) -> Table | None:
    """Build the table of a group's rows that were also scored on noisy images; None if none was.

    Args:
        title: of the group.
        key: of the group.
        rows: the group.
        noisy: rows of any noisy images.
    """
    levels: dict[str, dict[tuple[str, str], ScoreRow]] = {}
    for row in noisy:
        noise = _NOISE.match(row.split)
        if noise and not row.oracle and (row.dataset, noise[1], *table_key(row)[2:]) == key:
            levels.setdefault(noise[2], {})[row.kind, row.name] = row
    if not levels:
        return None
    clean = {(row.kind, row.name): row for row in rows if not row.oracle}
    order = sorted(levels, key=float)
    table = Table(
        f"{title}: robustness to salt-and-pepper noise", ["Method", "Kind"], ["no noise", *(f"{n} %" for n in order)]
    )
    table.note = "Share of the pixels that noise sets to black or white, drawn by the seed of each row's config."
    named = [
        key for kind in KIND_TITLES for key in dict.fromkeys(k for n in order for k in levels[n]) if key[0] == kind
    ]

    def values(key: tuple[str, str]) -> list[ScoreRow | None]:
        return [clean.get(key), *(levels[n].get(key) for n in order)]

    shown: dict[tuple[str, ...], list[ScoreRow | None]] = {
        (name, KIND_TITLES[kind]): values((kind, name)) for kind, name in named
    }
    _fill(table, shown, lambda metric, some: [_text(row, metric) for row in some])
    return table


def memory_tables(rows: Sequence[ScoreRow], seen: Sequence[ScoreRow]) -> dict[str, tuple[Table, str]]:
    """Build, for each data set with rows of images seen in training, the table of what these images add, and a sentence.

    Args:
        rows: rows of held-out images.
        seen: rows of splits in ``SEEN``.

    Returns:
        Data set (of a second protocol, with its name) -> table and sentence; without those of which no method was scored on
        both.
    """
    tables = {}
    for dataset, protocol in dict.fromkeys((row.dataset, row.protocol) for row in seen):
        parts: dict[str, dict[str, ScoreRow]] = {}
        for row in [*rows, *seen]:
            if (row.dataset, row.protocol) == (dataset, protocol) and row.split in ("test", *SEEN) and not row.oracle:
                parts.setdefault(row.split, {})[row.name] = row
        names = [name for name in parts.get("test", {}) if any(name in parts.get(split, {}) for split in SEEN)]
        if names:
            name = f"{dataset}, protocol {protocol}" if dataset in tables else dataset
            tables[name] = _memory(name, names, parts)
    return tables


def _memory(dataset: str, names: Sequence[str], parts: dict[str, dict[str, ScoreRow]]) -> tuple[Table, str]:
    split = next((split for split in ("trainval", "train") if split in parts), "train")
    splits = [name for name in (split, "test", "all") if name in parts]
    sizes = {name: next(iter(parts[name].values())).n_images for name in splits}
    kinds = {"test": "held out", "all": "all"}
    columns = [f"{sizes[name]} {kinds.get(name, 'trained on')}" for name in splits]
    table = Table(
        f"A table over all {sizes['all']} images, seen ones among them: {dataset}"
        if "all" in sizes
        else f"What seen images add: {dataset}",
        ["Method"],
        columns + (["difference"] if split in sizes else []),
        caution=True,
    )
    table.note = "Difference: images trained on minus images held out. Only the held-out ones compare with other rows."

    def cells(metric: str, some: Sequence[ScoreRow | None]) -> list[str]:
        by_split = dict(zip(splits, some, strict=True))
        texts = [_text(row, metric) for row in some]
        if split in sizes:
            row, held = by_split[split], by_split["test"]
            known = row is not None and held is not None and has(row, metric) and has(held, metric)
            texts.append(
                signed(row.metrics[metric] - held.metrics[metric], metric, row.protocol)
                if known and row and held
                else "–"
            )
        return texts

    shown: dict[tuple[str, ...], list[ScoreRow | None]] = {
        (name,): [parts[part].get(name) for part in splits] for name in names
    }
    lead = _fill(table, shown, cells)
    return table, _sentence(names, parts, split, sizes, lead)


def _sentence(
    names: Sequence[str], parts: dict[str, dict[str, ScoreRow]], split: str, sizes: dict[str, int], metric: str
) -> str:
    """Return in words what images seen in training add to trained methods, and to those that learn nothing."""
    trained = [name for name in names if name not in LEARN_NOTHING]
    free = [name for name in names if name in LEARN_NOTHING]
    rows = [row for of_split in parts.values() for row in of_split.values()]
    sign, protocol = direction(metric, rows), rows[0].protocol

    def gains(of: Sequence[str], part: str) -> list[float]:
        both = [(parts[part][n], parts["test"][n]) for n in of if n in parts.get(part, {})]
        return [sign * (a.metrics[metric] - b.metrics[metric]) for a, b in both if has(a, metric) and has(b, metric)]

    text = ""
    learnt, nothing = gains(trained, split), gains(free, split)
    if learnt:
        text += (
            f"{_listed(trained)} score {_range(learnt, metric, protocol)} better in {label(metric)} on the {sizes[split]} images "
            f"that they were trained on than on the {sizes['test']} held out."
        )
    if learnt and nothing and max(map(abs, nothing)) < min(learnt):
        most = number(max(map(abs, nothing)), metric, protocol)
        text += (
            f" Without any training, the scores of {_listed(free)} differ by {most} at most: "
            "the held-out images are not harder, the difference is memorised training images."
        )
    over_all = gains(trained, "all")
    if over_all:
        text += (
            f" A table over all {sizes['all']} images shows these methods {_range(over_all, metric, protocol)} better than they "
            "are on images that they have not seen."
        )
    return text.strip()


def _fill(
    table: Table,
    shown: Mapping[tuple[str, ...], list[ScoreRow | None]],
    cells: Callable[[str, Sequence[ScoreRow | None]], list[str]],
) -> str:
    """Add a block for each of the first metrics; return the first one."""
    rows = [row for some in shown.values() for row in some if row is not None]
    known = [metric for metric in rows[0].metrics if all(has(row, metric) for row in rows)]
    usual = [metric for metric in ("s_measure", "weighted_f", "mae") if metric in known]
    metrics = (usual if len(usual) == METRICS else known)[:METRICS]
    for metric in metrics:
        lines = [Line(list(heads), [Cell(text) for text in cells(metric, some)]) for heads, some in shown.items()]
        table.blocks.append(Block(column(metric, rows), lines))
    return metrics[0]


def _text(row: ScoreRow | None, metric: str) -> str:
    return "–" if row is None else number(row.metrics.get(metric, math.nan), metric, row.protocol)


def _range(values: Sequence[float], metric: str, protocol: str) -> str:
    low, high = (number(value, metric, protocol) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
