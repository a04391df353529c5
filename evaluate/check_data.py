"""Look a data set over before a GPU is paid for: pairs, sizes, mask values, odd files, duplicates, leaks between splits.

  python evaluate/check_data.py configs/adapt/steel_lora.yaml
  python evaluate/check_data.py configs/adapt/steel_lora.yaml data.name=folder data.root=my_photos --sheet sheet.png

Exit code: 0 nothing wrong, 1 warnings, 2 errors.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import parse, run
from samis.config import Experiment


def options(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="also draw a contact sheet: a few images of each class"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--most", type=int, default=40, help="findings to print (default: %(default)s)")


def one_line(text: str) -> str:
    """Return a text that any terminal can show: control signs of file names are written out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def main() -> None:
    """Examine the config's three splits and print what was found."""
    config, arguments = parse(__doc__, Experiment, extend=options)
    from samis.data import (
        DATASETS,
        has_clean_lists,
        load_dataset,
        loader_options,
    )  # heavy imports come after the cheap checks
    from samis.data.checks.doctor import examine_named, write_contact_sheet
    from samis.data.checks.findings import equal_splits

    data = config.data
    splits = list(dict.fromkeys([data.train, data.val, data.test]))
    if data.name not in DATASETS:
        load_dataset(data.name)  # raises the error that names the near one
    more = loader_options(data.name, data.options)
    if data.clean_share and has_clean_lists(data.name):
        more["clean"] = True
    found = examine_named(DATASETS[data.name], splits, root=data.root, **more)
    found.findings += equal_splits({"data.train": data.train, "data.val": data.val, "data.test": data.test})
    found.sort()
    if arguments.sheet:
        write_contact_sheet(load_dataset(data.name, root=data.root, split=splits[0], **more), arguments.sheet)
    if arguments.json:
        print(json.dumps(found.as_dict()))
        sys.exit(found.exit_code)
    print(f"{'split':10s} {'class':16s} {'images':>7s} {'empty':>6s}   defect area of an image: least, median, largest")
    for row in found.classes:
        entry = row.as_dict()
        areas = [entry[f"area_{name}"] for name in ("min", "median", "max")]
        shown = "  ".join("-" if area is None else f"{area:.2%}" for area in areas)
        print(f"{entry['split']:10s} {entry['class']:16s} {entry['images']:7d} {entry['empty_masks']:6d}   {shown}")
    for finding in found.findings[: arguments.most]:
        where = "" if finding.file in finding.message else f"{finding.file}: "
        print(f"{finding.severity}: {one_line(where + finding.message)}")
    if len(found.findings) > arguments.most:
        print(f"and {len(found.findings) - arguments.most} more; --json prints all")
    counts = found.as_dict()["counts"]
    print(", ".join(f"{count} {severity}s" for severity, count in counts.items()))
    sys.exit(found.exit_code)


if __name__ == "__main__":
    run(main)
