"""Score a folder of saved maps against a folder of masks.

python -m samis.metrics MAPS MASKS [--protocol pysod|published|inspection] [--json] [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from samis.contracts import UserError
from samis.metrics import DIRECTIONS, PROTOCOLS, find_metrics, summarise
from samis.metrics.folders import FolderScores, match_files, score_folders


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, 2 for a mistake of the user's."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m samis.metrics", description="Score saved maps against masks.")
    parser.add_argument("maps", type=Path, help="folder of saved maps: 8-bit grey, or .npy with floats in [0, 1]")
    parser.add_argument("masks", type=Path, help="folder of masks: 0/255 or 0/1, the same names")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="pysod", help="rules to score by (default: pysod)")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="some of the protocol's metrics (default: all)")
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
        help="average images with an empty mask with the others, as PySODMetrics does; by default they stand apart",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per image")
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end instead of a table")
    return parser


def _run(options: argparse.Namespace) -> None:
    parts = find_metrics(options.metrics, options.protocol)
    if options.workers < 1:
        raise UserError(f"--workers: expected at least 1, got {options.workers}")
    for value in (*(options.classes or ()), *([] if options.ignore_value is None else [options.ignore_value])):
        if not 0 <= value <= 255:
            raise UserError(f"--classes, --ignore-value: expected values from 0 to 255, got {value}")
    if options.ignore_value in (options.classes or ()):
        raise UserError(f"--ignore-value {options.ignore_value}: expected another value than those of --classes")
    if not 0 < options.threshold <= 1:
        raise UserError(f"--threshold: expected a number above 0 and at most 1, got {options.threshold}")
    names = _read_names(options.names) if options.names else None
    files = match_files(
        options.maps, options.masks, names=names, map_suffix=options.map_suffix, truth_suffix=options.mask_suffix
    )
    scores = score_folders(
        files, parts, protocol=options.protocol, threshold=options.threshold, workers=options.workers,
        classes=options.classes, ignore_value=options.ignore_value,
    )  # fmt: skip
    for text in scores.warnings():
        print(f"warning: {text}", file=sys.stderr)
    together = options.with_clean or options.protocol == "inspection"
    numbers = _numbers(scores, together=together)
    if options.csv:
        _write_csv(options.csv, scores)
    counts = {"images": len(files), "clean_images": len(scores.clean)}
    if options.json:
        print(json.dumps({"protocol": options.protocol, **counts, **numbers}))
    else:
        _print_table(options.protocol, counts, numbers, together=together)


def _read_names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of names ({error}); write one name a line") from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{path}: expected one name a line, found none")
    return names


def _numbers(scores: FolderScores, *, together: bool) -> dict[str, float]:
    chosen = [*scores.defective.values(), *(scores.clean.values() if together else ())]
    numbers = summarise(chosen) if chosen else {}
    if scores.clean_rule:
        numbers.update(summarise(list(scores.clean_rule.values())))
    return numbers


def _write_csv(path: Path, scores: FolderScores) -> None:
    rows = {
        **{name: {"clean": 0, **own.values} for name, own in scores.defective.items()},
        **{name: {"clean": 1, **own.values, **scores.clean_rule[name].values} for name, own in scores.clean.items()},
    }
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *columns])
            for name in sorted(rows):
                writer.writerow([name, *(rows[name].get(column, "") for column in columns)])
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); give another --csv FILE") from error


def _print_table(protocol: str, counts: dict[str, int], numbers: dict[str, float], *, together: bool) -> None:
    apart = "" if together or not counts["clean_images"] else ", clean ones apart"
    print(f"protocol {protocol}: {counts['images']} images, {counts['clean_images']} of them clean{apart}")
    width = max((len(name) for name in numbers), default=0)
    for name, value in numbers.items():
        print(f"  {name:<{width}}  {value:.4f}  {'higher' if DIRECTIONS[name] > 0 else 'lower'} is better")


if __name__ == "__main__":
    sys.exit(main())
