"""Score folders of saved maps against a folder of masks: what ``samis metrics`` does, also as ``python -m samis.metrics``."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from samis.core.cells import text_cells
from samis.errors import Parser, UserError
from samis.metrics import PROTOCOLS, THRESHOLDS, directions_of, find_metrics, mean_curves, summarise
from samis.metrics.folders import FolderScores, score_many
from samis.metrics.matching import match_files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, 2 for a mistake of the user's."""
    parser = Parser(prog="python -m samis.metrics", description="Score saved maps against masks.")
    add_arguments(parser)
    try:
        score_folders(parser.parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER",
        help="MAPS MASKS: saved maps (8-bit grey, .npy or TIFF of floats in [0, 1]) and masks (0/255 or 0/1) of the same "
        "names; with --truth all are folders of maps",
    )  # fmt: skip
    parser.add_argument("--truth", type=Path, metavar="MASKS", help="folder of masks for any number of folders of maps")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="pysod", help="rules to score by (default: pysod)")
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="some of the protocol's metrics (default: all but rates, "
        "context_measure, human_correction_effort and msiou)",
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="absolute threshold of inspection (default: 0.5)")
    parser.add_argument("--names", type=Path, metavar="FILE", help="score only these images: one name a line")
    parser.add_argument(
        "--classes", type=int, nargs="+", metavar="N", help="mask values that are defects, in masks of class numbers"
    )
    parser.add_argument(
        "--ignore-value",
        type=int,
        metavar="N",
        help="mask value of pixels that are left out, such as 255 in masks of VOC",
    )
    parser.add_argument("--map-suffix", metavar="END", help="what a map's file name ends with, such as _map.png")
    parser.add_argument("--mask-suffix", metavar="END", help="what a mask's file name ends with, such as _mask.png")
    parser.add_argument(
        "--with-clean",
        action="store_true",
        help="average images with an empty mask with the others, as PySODMetrics does; by default they are averaged separately",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per image")
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE",
        help="write the mean curves over the 256 thresholds (precision, recall, F, E)",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end instead of a table")


def score_folders(options: argparse.Namespace) -> None:
    """Score what the arguments name, print and write it.

    Raises:
        UserError: a mistake in the arguments, names that do not match, or files that cannot be read or written.
    """
    parts = find_metrics(options.metrics, options.protocol)
    if options.workers < 1:
        raise UserError(f"--workers: expected at least 1, got {options.workers}", code="E-METRIC-OPTION")
    for value in (*(options.classes or ()), *([] if options.ignore_value is None else [options.ignore_value])):
        if not 0 <= value <= 255:
            raise UserError(
                f"--classes, --ignore-value: expected values from 0 to 255, got {value}", code="E-METRIC-OPTION"
            )
    if options.ignore_value in (options.classes or ()):
        raise UserError(
            f"--ignore-value {options.ignore_value}: is one of --classes too; give another value",
            code="E-METRIC-OPTION",
        )
    if not 0 < options.threshold <= 1:
        raise UserError(
            f"--threshold: expected a number above 0 and at most 1, got {options.threshold}", code="E-METRIC-OPTION"
        )
    names = _read_names(options.names) if options.names else None
    maps, masks = _folders(options)
    files = [
        match_files(folder, masks, names=names, map_suffix=options.map_suffix, truth_suffix=options.mask_suffix)
        for folder in maps
    ]
    results = score_many(
        files, parts, protocol=options.protocol, threshold=options.threshold, workers=options.workers,
        classes=options.classes, ignore_value=options.ignore_value,
    )  # fmt: skip
    labels = _labels(maps)
    for label, scores in zip(labels, results, strict=True):
        for text in scores.warnings():
            print(f"warning: {label + ': ' if len(maps) > 1 else ''}{text}", file=sys.stderr)
    with_clean = options.with_clean or options.protocol == "inspection"
    named = dict(zip(labels, results, strict=True))
    if options.csv:
        _write_csv(options.csv, named)
    if options.curves:
        _write_curves(options.curves, named, with_clean=with_clean)
    counts = {"images": len(files[0]), "clean_images": len(results[0].clean)}
    numbers = {label: _numbers(scores, with_clean=with_clean) for label, scores in named.items()}
    if options.json:
        content = numbers[labels[0]] if options.truth is None else {"folders": numbers}
        print(json.dumps({"protocol": options.protocol, **counts, **content}))
        return
    for label in labels:
        if options.truth is not None:
            print(f"{label}:")
        _print_table(options.protocol, counts, numbers[label], with_clean=with_clean)


def _folders(options: argparse.Namespace) -> tuple[list[Path], Path]:
    """Return the folders of maps, and the folder of masks."""
    if options.truth is not None:
        return options.folders, options.truth
    if len(options.folders) != 2:
        raise UserError(
            f"expected two folders, MAPS MASKS, got {len(options.folders)}; for several folders of maps give --truth MASKS",
            code="E-METRIC-FOLDERS",
        )
    return options.folders[:1], options.folders[1]


def _labels(maps: Sequence[Path]) -> list[str]:
    """Return the folders' names, or their paths where names repeat."""
    names = [folder.resolve().name for folder in maps]
    labels = names if len(set(names)) == len(names) else [str(folder) for folder in maps]
    if len(set(labels)) < len(labels):
        raise UserError(f"{maps[0]}: a folder of maps is given twice; remove one", code="E-METRIC-FOLDER-TWICE")
    return labels


def _read_names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as a list of names ({error}); write one name a line", code="E-METRIC-NAMES"
        ) from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{path}: holds no name; write one name a line", code="E-METRIC-NAMES")
    return names


def _numbers(scores: FolderScores, *, with_clean: bool) -> dict[str, float]:
    chosen = [*scores.defective.values(), *(scores.clean.values() if with_clean else ())]
    numbers = summarise(chosen) if chosen else {}
    if scores.clean_rule:
        numbers.update(summarise(list(scores.clean_rule.values())))
    return numbers


def _write_csv(path: Path, named: Mapping[str, FolderScores]) -> None:
    """Write a row for each image, and for each folder of maps if there are several."""
    rows: list[dict[str, object]] = []
    for label, scores in named.items():
        folder = {"maps": label} if len(named) > 1 else {}
        clean = {name: {**own.values, **scores.clean_rule[name].values} for name, own in scores.clean.items()}
        known = {name: (0, own.values) for name, own in scores.defective.items()} | {
            n: (1, v) for n, v in clean.items()
        }
        rows += [{**folder, "image": name, "clean": known[name][0], **known[name][1]} for name in sorted(known)]
    _write_table(path, rows, "--csv")


def _write_curves(path: Path, named: Mapping[str, FolderScores], *, with_clean: bool) -> None:
    """Write the mean curves: a row for each folder and threshold, 255 first."""
    rows: list[dict[str, object]] = []
    for label, scores in named.items():
        chosen = [*scores.defective.values(), *(scores.clean.values() if with_clean else ())]
        curves = mean_curves(chosen) if chosen else {}
        for place, threshold in enumerate(THRESHOLDS if curves else ()):
            values = {name: float(curve[place]) for name, curve in curves.items()}
            rows.append({"maps": label, "threshold": int(threshold), **values})
    if not rows:
        raise UserError(
            f"--curves {path}: none of the metrics has a curve; add f_measure, e_measure or iou to --metrics",
            code="E-METRIC-CURVES",
        )
    _write_table(path, rows, "--curves")


def _write_table(path: Path, rows: Sequence[Mapping[str, object]], option: str) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(text_cells(columns))
            writer.writerows(text_cells([row.get(column, "") for column in columns]) for row in rows)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}); give another {option} FILE", code="E-METRIC-WRITE"
        ) from error


def _print_table(protocol: str, counts: dict[str, int], numbers: dict[str, float], *, with_clean: bool) -> None:
    apart = "" if with_clean or not counts["clean_images"] else ", clean ones scored separately"
    print(f"protocol {protocol}: {counts['images']} images, {counts['clean_images']} of them clean{apart}")
    width = max((len(name) for name in numbers), default=0)
    for name, value in numbers.items():
        print(f"  {name:<{width}}  {value:.4f}  {'higher' if directions_of([name])[name] > 0 else 'lower'} is better")


if __name__ == "__main__":
    sys.exit(main())
