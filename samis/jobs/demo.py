"""The main job in small, on drawn rails: zero-shot SAM, a specialised network, tuned SAM, one evaluator, the report."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from samis.errors import UserError
from samis.jobs.launch import command, environment

RUNS = Path("checkpoints/runs")
OUT = Path("reports/demo")
_ROWS, _MAPS = ["--out", f"{OUT}/rows"], ["--save-maps", f"{OUT}/maps"]
_LORA, _UNET = RUNS / "demo_lora", RUNS / "demo_unet"
_ZERO_SHOT: list[list[str]] = [
    ["score", "demo", *_ROWS, *_MAPS, "prompt.kind=grid", "segmenter.mask_rule=all"],
    ["score", "demo", *_ROWS, *_MAPS, "prompt.kind=empty"],
    ["score", "demo", *_ROWS, "prompt.kind=box"],
]
_TRAINING: list[list[str]] = [["baseline", "demo_unet"], ["train", "demo"]]
_RUNS: list[list[str]] = [["score", str(_UNET), *_ROWS, *_MAPS], ["score", str(_LORA), *_ROWS, *_MAPS]]
_REPORT = ["compare", f"{OUT}/rows", "--out", str(OUT), "--maps", f"{OUT}/maps"]

_SMALL = ["data.options={surface: rail, count: 8}"]
_SMALL_FRAME = ["frame.frame_px=64", "cache.embeddings=never"]
_SMALL_TRAINING = ["training.epochs=1", "training.validate_every=1", "training.batch_size=4", "training.gallery=0"]

NEXT = """
report: {out}/index.html
runs:   {lora} (tuned SAM), {unet} (U-Net); tensorboard --logdir {runs}
next:   samis predict {lora} PHOTOS          find defects on photos with the tuned SAM
        samis check own data.root=FOLDER                     check your own pictures and masks
        samis train own data.root=FOLDER                     tune SAM on them
"""


def steps(*, quick: bool = False) -> list[list[str]]:
    """Return the verbs and arguments of the demo, in order.

    Args:
        quick: as small as it gets, to test the way and not the numbers: 8 pictures, frames of 64 px, one epoch.
    """
    if not quick:
        return [*_ZERO_SHOT, *_TRAINING, *_RUNS, _REPORT]
    small = [*_SMALL, *_SMALL_FRAME]
    scoring = [[*words, *small, "prompt.points_per_side=4", "metrics.bootstrap=20"] for words in _ZERO_SHOT]
    training = [[*words, *small, *_SMALL_TRAINING] for words in _TRAINING]
    training[0].append("segmenter.pretrained=false")
    return [*scoring, *training, *([*words, "metrics.bootstrap=20"] for words in _RUNS), _REPORT]


def demo(*, quick: bool = False) -> None:
    """Run the demo below the working folder; what an earlier demo left there is deleted.

    Args:
        quick: as for ``steps``.

    Raises:
        UserError: a step failed; its own message is above.
    """
    for folder in (_LORA, _UNET, OUT):
        shutil.rmtree(folder, ignore_errors=True)
    todo = steps(quick=quick)
    for number, words in enumerate(todo, 1):
        shown = shlex.join(words)
        print(f"\n[{number}/{len(todo)}] samis {shown}", flush=True)
        code = subprocess.run(command(words), env=environment(), check=False).returncode
        if code:
            raise UserError(
                f"samis demo: step {number} ended with exit code {code}, see above; samis {shown} repeats it",
                code="E-TRAIN-DEMO",
            )
    print(NEXT.format(out=OUT, lora=_LORA, unet=_UNET, runs=RUNS), end="")
