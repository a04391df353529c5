"""Write a run for other tools, or as files for a production line; each is read back by its tool before it is kept.

Formats: peft, merged, onnx, transformers; a model card (README.md) is always written. Needs: pip install 'samis[export]'.
With --to: one ONNX file, or OpenVINO IR (pip install 'samis[openvino]'), that takes photos of any size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from samis.cli.parser import Parser
from samis.errors import ConfigError

EXAMPLES = (
    "samis export steel                                                             all formats, into exports/steel",
    "samis export checkpoints/runs/steel_lora --out exports/mine --formats onnx merged",
    "samis export checkpoints/runs/steel_lora --dry-run                             what is possible, and why not",
    "samis export steel --to onnx,openvino-int8 --score                             files for a line, scored and timed",
)
PLACES = [Path("reports/rows"), Path("evaluate/results")]
"""Where score rows are looked for, for the card."""


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("run", type=Path, help="run folder of a tuned SAM, or the name of a tuned adapter (steel, tile, rail)")
    add("--out", type=Path, help="folder for what is written (default: exports/<name of the run>)", metavar="DIR")
    formats = ["peft", "merged", "onnx", "transformers"]
    add("--formats", nargs="+", default=[], choices=formats, help="default: all possible")
    add("--rows", type=Path, nargs="+", default=PLACES, help="folders of score rows, for the card (default: reports/rows "
        "evaluate/results)", metavar="DIR")  # fmt: skip
    add("--to", help="files for a production line, photos in, masks out: onnx, openvino-fp16, openvino-int8, with commas between",
        metavar="TARGETS")  # fmt: skip
    add("--score", action="store_true", help="with --to: score and time each file next to the run")
    add("--split", help="with --score: the split (default: the run's data.test)")
    add(
        "--calibrate",
        type=int,
        default=100,
        help="validation photos for openvino-int8 (default: %(default)s)",
        metavar="N",
    )
    add("overrides", nargs="*", metavar="key=value", help="with --to: where the data are, such as data.root=DIR")
    add("--dry-run", action="store_true", help="say what would be written, and stop")
    add("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> None:
    """Check the run, export it, say what was written."""
    from samis.config import Experiment, load_config
    from samis.core.shipped import find_run

    folder = find_run(arguments.run)
    if arguments.to is None:
        check_alone(arguments)
    else:
        return run_line(arguments, folder)
    config = load_config(folder / "config.yaml", schema=Experiment)
    from samis.jobs.export import FORMATS, export, reasons_against  # heavy imports come after the cheap checks

    if arguments.dry_run:
        against = reasons_against(config)
        for name in arguments.formats or FORMATS:
            print(f"{name}: {'not possible: ' + against[name] if name in against else FORMATS[name]}")
        return
    out = arguments.out or Path("exports") / folder.resolve().name
    written, left_out = export(folder, out, arguments.formats, rows=arguments.rows)
    if arguments.json:
        print(json.dumps({"written": [vars(each) for each in written], "left_out": left_out}))
        return
    for each in written:
        print(f"{each.format}: {each.path} (read back; masks within {each.difference:.1g})")
    print(f"card: {out / 'README.md'}")
    for name, why in left_out.items() if not arguments.formats else ():
        print(f"left out {name}: {why}")


def check_alone(arguments: argparse.Namespace) -> None:
    """Refuse what belongs to ``--to`` where it is missing.

    Raises:
        ConfigError: names it.
    """
    for given, name in ((arguments.score, "--score"), (arguments.split, "--split"), (arguments.overrides, "key=value")):
        if given:
            raise ConfigError(
                f"{name}: expected only together with --to, got it alone; add --to onnx", code="E-EXPORT-SCORE"
            )


def run_line(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the files for a line, and print what they are or how they score."""
    targets = [word.strip() for word in arguments.to.split(",") if word.strip()]
    from samis.jobs.line_graph import check_run
    from samis.jobs.line_ready import REPORT, TARGETS, check_targets, read_config, write_line_files

    check_targets(targets or [arguments.to])
    check_run(read_config(folder, arguments.overrides), folder)
    out = arguments.out or Path("exports") / folder.resolve().name
    if arguments.dry_run:
        for target in targets:
            print(f"{target}: {out}/*{TARGETS[target]}")
        return
    report = write_line_files(
        folder, out, targets, overrides=arguments.overrides, split=arguments.split, score=arguments.score,
        calibrate=arguments.calibrate,
    )  # fmt: skip
    if arguments.json:
        print(json.dumps(report))
        return
    for file in report["files"]:
        print(
            f"{file['target']}: {file['path']} ({file['megabytes']:.1f} MB, maps within {file['difference']:.1g} of the run's)"
        )
    if int(report["tile_px"]):
        print(f"tiling is not inside: cut photos into tiles of {report['tile_px']} px, as the run was tuned")
    if report["scored"]:
        from samis.jobs.line_scores import score_table

        print(score_table(report))
    print(f"report: {out / REPORT}")
