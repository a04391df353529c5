"""Score one segmenter on one split, into one row (JSON) with its per-image values (CSV)."""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser, config_arguments, read_config

EXAMPLES = (
    "samis score zero_shot data.root=...                    zero-shot SAM, every mask rule from one pass",
    "samis score zero_shot data.root=... prompt.kind=box    an oracle: the prompt comes from the ground truth",
    "samis score checkpoints/runs/steel_lora                a run: its best epoch on its own test split",
    "samis score steel data.root=...                        a tuned adapter that comes along",
    "samis score saved_maps segmenter.maps=DIR              a folder of published maps",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    config_arguments(parser, takes="; or a run folder; or the name of a tuned adapter (steel, tile, rail)")
    add = parser.add_argument
    add("--split", help="split to score (default: data.test)")
    add("--out", type=Path, default=Path("reports/rows"), help="where rows go (default: %(default)s)", metavar="DIR")
    add("--name", help="what the report calls the row (default: made from the config)")
    add("--save-maps", type=Path, help="also write each map as 8-bit PNG into DIR/<row>/<id>.png", metavar="DIR")
    add(
        "--budget", choices=("short", "smoke"), default="",
        help="mark the row as not trained to a plateau, or as a few steps: it is shown, but compared with nothing",
    )  # fmt: skip
    add(
        "--overwrite", action="store_true",
        help="replace a row, or maps, of the same name (otherwise refused before anything is computed)",
    )  # fmt: skip
    add("--json", action="store_true", help="print one JSON line a row instead of the table")


def run(arguments: argparse.Namespace) -> None:
    """Score, write rows, print them.

    Raises:
        ConfigError: neither a config nor a run.
    """
    from samis.core.shipped import find_model, find_run

    given = arguments.config
    folder = find_model(given)
    if folder.is_dir():
        arguments.config = str(folder / "config.yaml")
        # Training watches a few metrics; a row has them all, unless the command line says otherwise.
        as_run = ["segmenter.name=run", f"segmenter.run={given}", "metrics.names=[]"]
        arguments.overrides = [*as_run, *arguments.overrides]
    config = read_config(arguments)
    from samis.data import check_split_names
    from samis.jobs.check import check_experiment  # heavy imports come after the cheap checks

    check_experiment(config, training=False)
    if arguments.split:
        check_split_names(config.data.name, {"--split": arguments.split})
    if config.segmenter.name == "run":
        config.segmenter.run = str(find_run(config.segmenter.run or ""))
    if arguments.dry_run:
        from samis.config import to_yaml
        from samis.jobs.load import check_network

        check_network(config)
        print(to_yaml(config))
        return
    from samis.jobs.score import score_and_save, show

    rows = score_and_save(
        config,
        split=arguments.split,
        out=arguments.out,
        name=arguments.name,
        maps=arguments.save_maps,
        budget=arguments.budget,
        overwrite=arguments.overwrite,
    )
    show(rows, arguments.save_maps, as_json=arguments.json)
