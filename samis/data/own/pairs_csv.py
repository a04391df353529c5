"""Reads a user's CSV of pairs, ``image,mask[,class][,split]``, one line per image."""

from __future__ import annotations

import csv
from pathlib import Path

from samis.data.base import CLEAN
from samis.data.pairing import GIVEN_SPLITS, DataFiles, Fault, Pair, portable
from samis.errors import UserError, did_you_mean

COLUMNS = ("image", "mask", "class", "split")


def read_pairs(table: Path, *, unlabelled_ok: bool = False) -> DataFiles:
    """Read the pairs of a CSV file.

    Args:
        table: the file, UTF-8, separated by comma or semicolon; paths are relative to its folder.
        unlabelled_ok: whether the mask may be left empty.

    Returns:
        The files. An id is the image's stem, or its path joined by ``__`` where stems repeat.

    Raises:
        UserError: if the file cannot be read, a column is missing or unknown, or a value is not what it should be.
    """
    rows = _rows(table)
    for row in rows:
        row["image"], row["mask"] = (_as_here(table.parent, row[column]) for column in ("image", "mask"))
    stems = [Path(row["image"]).stem for row in rows]
    repeated = len(set(stems)) < len(stems)
    files = DataFiles()
    for number, row in enumerate(rows, start=2):
        where = f"{table}, line {number}"
        written = Path(row["image"]).with_suffix("") if row["image"] else Path()
        # Saved maps are named by id: an id must not lead out of their folder.
        key = "__".join(part for part in written.parts if part != written.anchor) if repeated else written.name
        kind, split = row.get("class") or "defect", row.get("split", "")
        if "split" in row and split not in GIVEN_SPLITS:
            raise UserError(
                f"{where}: expected a split out of {', '.join(GIVEN_SPLITS)}, got '{split}'"
                f"{did_you_mean(split, GIVEN_SPLITS)}",
                code="E-DATA-SPLIT",
            )
        image = table.parent / row["image"]
        mask = table.parent / row["mask"] if row["mask"] else None
        fault = _fault(where, image, mask, mask_needed=not unlabelled_ok and kind != CLEAN)
        if fault is None and key in files.pairs.by_stem:
            fault = Fault(
                "double_stem", image, f"{where}: expected each image once, got {row['image']} again; remove it"
            )
        if fault is not None:
            files.pairs.faults.append(fault)
            continue
        files.pairs.by_stem[key] = Pair(image, mask)
        files.classes[key] = kind
        if split:
            files.splits[key] = split
    return files


def _as_here(folder: Path, name: str) -> str:
    """Return a file's name with slashes, unless there is a file that really has backslashes in its name."""
    return name if (folder / name).is_file() else portable(name)


def _fault(where: str, image: Path, mask: Path | None, *, mask_needed: bool) -> Fault | None:
    if not image.is_file():
        return Fault(
            "mask_without_image", image, f"{where}: expected the image {image}, got no such file; check the path"
        )
    if mask is None and mask_needed:
        return Fault(
            "image_without_mask", image, f"{where}: expected a mask for {image}, got an empty cell; fill it in"
        )
    if mask is not None and not mask.is_file():
        return Fault(
            "image_without_mask",
            image,
            f"{where}: expected the mask {mask} for {image}, got no such file; check the path",
        )
    return None


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{table}: expected a CSV file of pairs, got '{error.strerror}'; check the path", code="E-FILE-UNREADABLE"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table}: expected UTF-8 text, got other bytes ({error.reason}); save the CSV as UTF-8",
            code="E-DATA-TABLE",
        ) from error
    lines = text.splitlines()
    comma = lines[0].count(",") >= lines[0].count(";") if lines else True
    reader = csv.DictReader(lines, delimiter="," if comma else ";", strict=True)
    header = [name.strip().lower() for name in reader.fieldnames or []]
    for name in header:
        if name not in COLUMNS:
            raise UserError(
                f"{table}: expected columns {', '.join(COLUMNS)}, got '{name}'{did_you_mean(name, COLUMNS)}",
                code="E-DATA-TABLE",
            )
    if not {"image", "mask"} <= set(header):
        raise UserError(
            f"{table}: expected a first line with image,mask[,class][,split], got '{lines[0] if lines else ''}'",
            code="E-DATA-TABLE",
        )
    reader.fieldnames = header
    rows: list[dict[str, str]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{table}, line {reader.line_num}: expected {len(header)} cells, got another number",
                    code="E-DATA-TABLE",
                )
            rows.append({name: value.strip() for name, value in row.items()})
    except csv.Error as error:
        raise UserError(
            f"{table}, line {reader.line_num}: expected CSV, got a broken line ({error})", code="E-DATA-TABLE"
        ) from error
    if not rows:
        raise UserError(f"{table}: expected at least one pair below the header, got none", code="E-DATA-EMPTY")
    return rows
