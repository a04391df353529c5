"""Find defects on new photos: masks, maps, overlays, COCO JSON and a table of measured regions.

The same command again goes on where it stopped. Exit code 0: all done; 1: some photos could not be read, they are listed; 2: a
mistake in the command.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from samis.cli.parser import Parser
from samis.errors import ConfigError

EXAMPLES = (
    "samis predict steel photos/                                                   a tuned adapter that comes along",
    "samis predict checkpoints/runs/steel_lora photos/ --out predictions           a run",
    "samis predict steel 'line_3/**/*.tif' --out p frame.tile_px=512               large photos, in tiles",
    "samis predict steel photos/ --out p --mm-per-px 0.05                          lengths in mm as well",
    "samis predict checkpoints/runs/own_lora photos/ --miss-at-most 0.1             the threshold that keeps this promise",
    "samis predict steel a.png --out p --box 40,10,120,60                          the defect in a box that you drew",
    "samis predict zero_shot photos/ --out p prompt.kind=grid                      untuned SAM",
)


def numbers(text: str) -> list[float]:
    """Return the numbers of ``1,2,3``."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers joined by commas, got {text!r}") from error


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("model", help="run folder, name of a tuned adapter (steel, tile, rail), or the config of a zero-shot SAM")
    add(
        "photos",
        nargs="+",
        help="files, folders, quoted globs; key=value overrides (of a run: frame.tile_px, frame.overlap, segmenter.tta)",
    )
    out = Path("predictions")
    add("--out", type=Path, default=out, help="folder for the results (default: %(default)s)", metavar="DIR")
    add("--threshold", type=float, help="map value above which a pixel is defect (default: the best one on validation)")
    add("--min-area", type=int, default=0, help="drop regions of fewer pixels", metavar="PX")
    add("--mm-per-px", type=float, help="scale of the photos: fills the table's mm columns", metavar="MM")
    add(
        "--image-rule",
        help="score of a whole photo, for its verdict: max, top_1_percent_mean or region_area (default: the config's)",
    )
    add(
        "--image-threshold",
        type=float,
        help="score above which a photo is defective (default: the best one on validation)",
    )
    add("--miss-at-most", type=float, metavar="SHARE", help="promise: share missed on defective photos, 0.1 for 10 %%, kept by "
        "calibration")  # fmt: skip
    add("--miss-of", default="pixels", help="what that share is of: pixels, defects or images (default: %(default)s)")
    add(
        "--false-alarms-at-most",
        type=float,
        metavar="SHARE",
        help="promise: share of the clean photos called defective",
    )
    add("--calibration", type=Path, help="file of samis calibrate (default: the one in the run folder)", metavar="FILE")
    add("--white", type=float, help="value of white in 16-bit and float files, e.g. 4095 of a 12-bit camera")
    add("--box", type=numbers, action="append", default=[], help="x0,y0,x1,y1 in file pixels; may be repeated")
    add("--point", type=numbers, action="append", default=[], help="x,y on the defect (x,y,0: off it); may be repeated")
    add("--prompts", type=Path, help="CSV of boxes and clicks per photo: image,x0,y0,x1,y1 or image,x,y,label")
    add("--batch-size", type=int, default=8, help="photos or tiles at once (default: %(default)s)", metavar="N")
    add("--workers", type=int, default=4, help="threads that read photos (default: %(default)s)", metavar="N")
    add("--redo", action="store_true", help="predict again what --out holds already")
    add("--dry-run", action="store_true", help="say what would be done, and stop")
    add("--json", action="store_true", help="print one JSON object at the end instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Check the command, predict, list what failed; return the exit code.

    Raises:
        ConfigError: no photos named, no such model, or a mistake in an override.
    """
    is_key = re.compile(r"[a-z_]+(\.[a-z_]+)*=")
    overrides = [word for word in arguments.photos if is_key.match(word) and not Path(word).exists()]
    patterns = [word for word in arguments.photos if word not in overrides]
    if not patterns:
        raise ConfigError("expected photos: files, folders or quoted globs, got none", code="E-CONFIG-OPTION")
    from samis.config import Experiment, load_config
    from samis.core.shipped import CONFIG, find_model

    model = find_model(arguments.model)
    load_config(model / CONFIG if model.is_dir() else model, overrides, schema=Experiment)  # a typo is reported at once
    from samis.jobs.predict import predict_photos
    from samis.prediction import Options

    options = Options(
        threshold=arguments.threshold, min_area_px=arguments.min_area, mm_per_px=arguments.mm_per_px,
        batch_size=arguments.batch_size, workers=arguments.workers, white=arguments.white, redo=arguments.redo,
        boxes=arguments.box, points=arguments.point, prompts=arguments.prompts,
        image_rule=arguments.image_rule, image_threshold=arguments.image_threshold, miss_at_most=arguments.miss_at_most,
        miss_of=arguments.miss_of, false_alarms_at_most=arguments.false_alarms_at_most, calibration=arguments.calibration,
    )  # fmt: skip
    return predict_photos(
        arguments.model, patterns, arguments.out, options, overrides, dry_run=arguments.dry_run, as_json=arguments.json
    )
