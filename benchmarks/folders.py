"""Score whole folders of saved maps: `python -m samis.metrics` against a script on PySODMetrics 1.6.2, each a process.

    python benchmarks/folders.py                                      # 900 drawn maps of 200 x 200; one folder, then five
    python benchmarks/folders.py --maps MAPS_A MAPS_B ... --truth MASKS --names NAMES     # maps at hand: the first, then all

Counted is the processor time of the whole process: starting, importing (modules compiled before), reading, scoring. Both give
MAE, F-measure, weighted F, S-measure, E-measure, IoU, Dice, precision and recall with their curves, and their means must agree
to 1e-9. Ours is timed twice: with these metrics only, and as it is called without --metrics, which gives the overlap ratio and
Pratt's figure too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SAME = {
    "mae": "mae", "weighted_f": "wfm", "s_measure": "sm", "e_adaptive": "e_adp", "e_mean": "e_mean", "e_max": "e_max",
    "f_adaptive": "f_adp", "f_mean": "f_mean", "f_max": "f_max", "iou": "iou", "dice": "dice", "precision": "pre", "recall": "rec",
}  # fmt: skip
"""Our name and the script's, of every number that is compared."""
SETS = {
    "the same metrics": ["--metrics", "mae", "f_measure", "weighted_f", "s_measure", "e_measure", "iou"],
    "all metrics": [],
}
STOCK = """
import json, sys, warnings
from pathlib import Path
import cv2, py_sod_metrics as pysod
warnings.simplefilter("ignore")
masks, names, *folders = sys.argv[1:]
names = Path(names).read_text().split()
found = {}
for folder in folders:
    options = dict(with_dynamic=True, with_adaptive=True, with_binary=True)
    kinds = dict(f=pysod.FmeasureHandler, iou=pysod.IOUHandler, dice=pysod.DICEHandler, pre=pysod.PrecisionHandler,
                 rec=pysod.RecallHandler)
    shared = pysod.FmeasureV2({name: kind(**options) for name, kind in kinds.items()})
    metrics = pysod.MAE(), pysod.WeightedFmeasure(), pysod.Smeasure(), pysod.Emeasure(), shared
    for name in names:
        pair = [cv2.imread(f"{part}/{name}", cv2.IMREAD_GRAYSCALE) for part in (folder, masks)]
        for metric in metrics:
            metric.step(*pair)
    mae, wfm, sm, em, both = (metric.get_results() for metric in metrics)
    numbers = dict(mae=mae["mae"], wfm=wfm["wfm"], sm=sm["sm"], e_adp=em["em"]["adp"], e_mean=em["em"]["curve"].mean(),
                   e_max=em["em"]["curve"].max(), f_adp=both["f"]["adaptive"], f_mean=both["f"]["dynamic"].mean(),
                   f_max=both["f"]["dynamic"].max(), **{name: both[name]["binary"] for name in kinds if name != "f"})
    found[folder] = {name: float(value) for name, value in numbers.items()}
print(json.dumps(found))
"""


def draw_folders(root: Path, number: int, folders: int, side: int = 200) -> tuple[list[Path], Path, list[str]]:
    """Write drawn masks, and maps of them in several folders; return the folders, the masks' and the files' names."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    draw = importlib.import_module("metrics").draw  # PySODMetrics comes along, so only here
    places = [root / f"maps_{index}" for index in range(folders)]
    for place in (*places, root / "masks"):
        place.mkdir()
    names = [f"{index:04d}.png" for index in range(number)]
    for index, name in enumerate(names):
        image, truth = draw(side, index)
        cv2.imwrite(str(root / "masks" / name), truth)
        for shift, place in enumerate(places):
            cv2.imwrite(str(place / name), np.maximum(image, 8 * shift) - np.uint8(8 * shift))
    return places, root / "masks", names


def used(command: Sequence[str], compiled: Path) -> tuple[float, Any]:
    """Run a command with compiled modules kept in a folder; return its processor time in s, and its last line's JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
                   "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}  # fmt: skip
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[:3]}: ended with {process.returncode}")
        output.seek(0)
        return usage.ru_utime + usage.ru_stime, json.loads(output.read().splitlines()[-1])


def compare(maps: Sequence[Path], masks: Path, names: Path, rounds: int, compiled: Path) -> list[dict[str, object]]:
    """Time both sides in turn; return a line for machines for each set of metrics."""
    stock = [sys.executable, "-c", STOCK, str(masks), str(names), *map(str, maps)]
    ours = [sys.executable, "-m", "samis.metrics", *map(str, maps), "--truth", str(masks), "--names", str(names),
            "--with-clean", "--json"]  # fmt: skip
    rows = [
        (used(stock, compiled), *(used([*ours, *metrics], compiled) for metrics in SETS.values()))
        for _ in range(rounds)
    ]
    number = len(names.read_text().split())
    lines: list[dict[str, object]] = []
    for place, label in enumerate(SETS, start=1):
        theirs, own = rows[-1][0], rows[-1][place]
        equal = all(
            abs(own[1]["folders"][folder.resolve().name][mine] - theirs[1][str(folder)][their]) < 1e-9
            for folder in maps
            for mine, their in SAME.items()
        )
        ratios = [row[0][0] / row[place][0] for row in rows]
        seconds = [statistics.median(row[side][0] for row in rows) for side in (0, place)]
        title = f"{len(maps)} folder(s) of {number} maps, {label}"
        print(
            f"{title}: PySODMetrics {seconds[0]:.2f} s, ours {seconds[1]:.2f} s, "
            f"{statistics.median(ratios):.1f} times less processor time ({', '.join(f'{ratio:.1f}' for ratio in ratios)})"
        )
        lines.append(
            {"name": f"samis.metrics: {title}", "ratio": round(statistics.median(ratios), 3),
             "peak_memory_ratio": None, "equal": equal}
        )  # fmt: skip
    return lines


def main() -> None:
    """Run the chosen comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, nargs="+", help="folders of maps (default: drawn ones)")
    parser.add_argument("--truth", type=Path, help="folder of masks, with --maps")
    parser.add_argument(
        "--names", type=Path, help="file of file names, one a line (default: those of the first folder)"
    )
    parser.add_argument("--number", type=int, default=900, help="drawn maps in a folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times each side is run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 drawn maps, one round")
    parser.add_argument(
        "--json", action="store_true", help="end with one line: name, ratio, peak_memory_ratio (not measured), equal"
    )
    if "--quick" in sys.argv:
        parser.set_defaults(number=60, rounds=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if options.maps:
            maps, masks = [folder.resolve() for folder in options.maps], options.truth.resolve()
            names = sorted(path.name for path in maps[0].iterdir())
        else:
            maps, masks, names = draw_folders(root, options.number, 5)
        listed = options.names.resolve() if options.names else root / "names.txt"
        if not options.names:
            listed.write_text("\n".join(names))
        compiled = root / "compiled"
        for imports in (
            "import json; import cv2, py_sod_metrics; print('0')",
            "import samis.metrics.__main__; print('0')",
        ):
            used([sys.executable, "-c", imports], compiled)
        lines = [
            line
            for chosen in ([maps[:1], maps] if maps[1:] else [maps])
            for line in compare(chosen, masks, listed, options.rounds, compiled)
        ]
    equal = all(line["equal"] for line in lines)
    if options.json:
        print(json.dumps(lines[0] | {"equal": equal}))
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
