"""Score one segmenter on one split, into one row (JSON) with its per-image values (CSV).

python evaluate/score.py configs/zero_shot.yaml                      zero-shot SAM, every mask rule from one pass
python evaluate/score.py configs/zero_shot.yaml prompt.kind=box      an oracle: the prompt comes from the truth
python evaluate/score.py checkpoints/runs/steel_lora                 a run: its best epoch on its own test split
python evaluate/score.py steel                                       an adapter that ships
python evaluate/score.py configs/saved_maps.yaml segmenter.maps=DIR  a folder of published maps
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import parse, run
from samis.config import Experiment
from samis.core.shipped import find_run


def options(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--split", help="split to score (default: data.test)")
    parser.add_argument("--out", type=Path, default=Path("reports/rows"), help="where rows go (default: %(default)s)")
    parser.add_argument("--name", help="what the report calls the row (default: made from the config)")
    parser.add_argument(
        "--save-maps", type=Path, help="also write each map as 8-bit PNG into DIR/<row>/<id>.png", metavar="DIR"
    )
    parser.add_argument(
        "--budget", choices=("short", "smoke"), default="",
        help="mark the row as not trained to a plateau, or as a few steps: it is shown, but compared with nothing",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace a row, or maps, of the same name (otherwise refused before anything is computed)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON line a row instead of the table")


def main() -> None:
    """Read the config or run folder, score, write rows, print them."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and not sys.argv[1].endswith((".yaml", ".yml")):
        folder = find_run(sys.argv[1])
        # Training watches a few metrics; a row has them all, unless the command line asks otherwise.
        sys.argv[1:2] = [f"{folder}/config.yaml", "segmenter.name=run", f"segmenter.run={folder}", "metrics.names=[]"]
    config, arguments = parse(__doc__, Experiment, extend=options)
    from samis.data import check_split_names
    from samis.jobs.check import check_experiment  # heavy imports come after the cheap checks

    check_experiment(config, training=False)
    if arguments.split:
        check_split_names(config.data.name, {"--split": arguments.split})
    if arguments.dry_run:
        from samis.config import to_yaml

        print(to_yaml(config))
        return
    from samis.jobs.score import score_and_save

    score_and_save(
        config,
        split=arguments.split,
        out=arguments.out,
        name=arguments.name,
        maps=arguments.save_maps,
        as_json=arguments.json,
        budget=arguments.budget,
        overwrite=arguments.overwrite,
    )


if __name__ == "__main__":
    run(main)
