"""Compare score rows: tables, figures, and how much of the gap to the specialised networks tuning closes."""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis compare reports/rows --out report/",
    "samis compare zero.json lora.json tsernet.json --metrics s_measure,mae --out report/",
    "samis compare reports/rows --maps maps/ --data-root sd_saliency_900=/data/SD-saliency-900",
    "samis compare evaluate/results --published --readme README.md --results docs/results.md",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("rows", nargs="+", type=Path, metavar="ROWS", help="score rows (*.json), or folders of them")
    add("--out", type=Path, default=Path("report"), help="the report's folder (default: report/)", metavar="DIR")
    add(
        "--metrics",
        type=_words,
        help="columns, comma-separated; the first one leads (default: those of the rows' protocol)",
    )
    add("--tuned", metavar="NAME", help="name of the tuned row to compare (default: the best one)")
    add(
        "--maps", type=Path, metavar="DIR",
        help="folder of maps, <row's file stem>/<image id>.png: draws overlays and the gallery",
    )  # fmt: skip
    add("--gallery", type=int, default=24, metavar="N", help="images per data set in the page's gallery (default: 24)")
    add(
        "--data-root", action="append", default=[], metavar="[NAME=]DIR",
        help="where a data set is, for --maps; may be repeated",
    )  # fmt: skip
    add("--published", action="store_true", help="append published numbers, in tables of their own")
    add("--readme", type=Path, help="rewrite the short answer between this file's answer:begin and answer:end markers")
    add("--results", type=Path, help="rewrite the long tables between the same markers of this file")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def run(arguments: argparse.Namespace) -> None:
    """Read the rows, write the report, print the answer."""
    from samis.jobs.compare import compare

    compare(
        arguments.rows,
        arguments.out,
        metrics=arguments.metrics,
        tuned=arguments.tuned,
        published=arguments.published,
        readme=arguments.readme,
        results=arguments.results,
        maps=arguments.maps,
        gallery=arguments.gallery,
        data_roots=arguments.data_root,
    )
