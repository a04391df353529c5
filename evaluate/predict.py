"""Find defects on new photos: masks, maps, overlays, COCO JSON and a table of measured regions.

python evaluate/predict.py steel photos/ --out predictions                                      an adapter that ships
python evaluate/predict.py checkpoints/runs/steel_lora photos/ --out predictions                a folder, searched through
python evaluate/predict.py checkpoints/runs/steel_lora 'line_3/**/*.tif' --out p frame.tile_px=512    large photos, in tiles
python evaluate/predict.py checkpoints/runs/steel_lora photos/ --out p --mm-per-px 0.05         lengths in mm as well
python evaluate/predict.py checkpoints/runs/steel_lora a.png --out p --box 40,10,120,60         about a box a person drew
python evaluate/predict.py configs/zero_shot.yaml photos/ --out p prompt.kind=grid              SAM untouched

The same command again goes on where it stopped. Exit code 0: all done; 1: some photos could not be read, they are listed; 2: a
mistake in the command.
"""

import argparse
import json
import re
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.config import Experiment, load_config
from samis.core.shipped import find_run
from samis.errors import ConfigError, Parser


def numbers(text: str) -> list[float]:
    """Return the numbers of ``1,2,3``."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers joined by commas, got {text!r}") from error


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("model", help="run folder, name of a shipped adapter (steel, tile, rail), or the config of a zero-shot SAM")
    add(
        "photos",
        nargs="+",
        help="files, folders, quoted globs; key=value overrides (of a run: frame.tile_px, frame.overlap, segmenter.tta)",
    )
    add("--out", type=Path, required=True, help="folder for what is found", metavar="DIR")
    add("--threshold", type=float, help="map value above which a pixel is defect (default: the best one on validation)")
    add("--min-area", type=int, default=0, help="drop regions of fewer pixels", metavar="PX")
    add("--mm-per-px", type=float, help="scale of the photos: fills the table's mm columns", metavar="MM")
    add("--white", type=float, help="value of white in 16-bit and float files, e.g. 4095 of a 12-bit camera")
    add("--box", type=numbers, action="append", default=[], help="x0,y0,x1,y1 in file pixels; may be repeated")
    add("--point", type=numbers, action="append", default=[], help="x,y on the defect (x,y,0: off it); may be repeated")
    add("--prompts", type=Path, help="CSV of boxes and clicks per photo: image,x0,y0,x1,y1 or image,x,y,label")
    add("--batch-size", type=int, default=8, help="photos or tiles at once (default: %(default)s)", metavar="N")
    add("--workers", type=int, default=4, help="threads that read photos (default: %(default)s)", metavar="N")
    add("--redo", action="store_true", help="predict anew what --out holds already")
    add("--dry-run", action="store_true", help="say what would be done, and stop")
    add("--json", action="store_true", help="print one JSON object at the end instead of text")
    return found


def main() -> None:
    """Check the command, predict, list what failed."""
    arguments = parser().parse_intermixed_args()
    is_key = re.compile(r"[a-z_]+(\.[a-z_]+)*=")
    overrides = [word for word in arguments.photos if is_key.match(word) and not Path(word).exists()]
    patterns = [word for word in arguments.photos if word not in overrides]
    if not patterns:
        raise ConfigError("expected photos: files, folders or quoted globs, got none")
    config = Path(arguments.model)
    if config.suffix not in (".yaml", ".yml") or config.is_dir():
        config = find_run(arguments.model) / "config.yaml"
    load_config(config, overrides, schema=Experiment)  # a typo is told before torch is imported
    from samis.jobs.predict import load_model
    from samis.prediction import Options, find_photos, predict_to
    from samis.training.agree import together
    from samis.training.processes import open_processes, watching

    options = Options(
        threshold=arguments.threshold, min_area_px=arguments.min_area, mm_per_px=arguments.mm_per_px,
        batch_size=arguments.batch_size, workers=arguments.workers, white=arguments.white, redo=arguments.redo,
        boxes=arguments.box, points=arguments.point, prompts=arguments.prompts,
    )  # fmt: skip
    processes = open_processes()
    with together(processes):  # several share the photos; a mistake is told once
        photos = find_photos(patterns, leave_out=arguments.out)
        model = load_model(arguments.model, overrides)
    if processes.is_main_process and not arguments.json:
        print(
            f"{model.about['model']}: {len(photos)} photos -> {arguments.out}, tiles {model.config.frame.tile_px or 'none'}"
        )
    if arguments.dry_run:
        return
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    with watching(processes):
        told = predict_to(arguments.out, model, photos, options, quiet=arguments.json, processes=processes)
    if not processes.is_main_process:
        sys.exit(1 if told["failed"] else 0)
    if arguments.json:
        print(json.dumps(told))
    else:
        print(
            f"threshold {told['threshold']:.3f} ({told['threshold_from']}); {told['images']} photos in {told['out']}, "
            f"{told['defective']} with defects, {told['regions']} regions"
        )
    for path in told["gone"]:
        print(f"no longer there, left out of the tables: {path}", file=sys.stderr)
    for reason in told["failed"].values():
        print(f"not predicted: {reason}", file=sys.stderr)
    if told["failed"]:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
