"""Drawing scenes with their prompts: every texture drawn for each scene (commit 31d036d) against crops of a bank.

Also prints what a GPU hour gives: scenes drawn a second and core, times the loader's processes. Run:
python benchmarks/scenes.py [--quick] [--json] [--cores 14]
"""

import argparse
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sides import finish, measure, parse, report
from pretraining.scene_prompts import PromptMix, draw_prompts
from pretraining.scenes import NO_SMALL
from pretraining.textures import bank

ROOT = Path(__file__).resolve().parents[1]
MIX = {"boxes": 6, "points": 3, "clicks": 2, "grid_px": 4}


def reference() -> ModuleType:
    """Return the drawing of commit 31d036d."""
    spec = spec_from_file_location("scenes_before", ROOT / "tests" / "reference" / "scenes_before.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules["scenes_before"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def options(parser: argparse.ArgumentParser) -> None:
    """Add this script's own options."""
    parser.add_argument("--side", type=int, default=256, help="of a scene, px (default: %(default)s)")
    parser.add_argument("--count", type=int, default=0, help="scenes a side and round (default: 200, quick 40)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument(
        "--cores", type=int, default=cores, help="loader processes of the estimate (default: %(default)s)"
    )


def agree(before: list[tuple[float, ...]], now: list[tuple[float, ...]]) -> bool:
    """Whether means and spreads of image mean, image standard deviation and object share differ by chance at most.

    The distributions are compared in tests/unit/pretraining/test_scene_statistics.py.
    """
    one, two = np.array(before), np.array(now)
    error = np.sqrt(one.var(0) / len(one) + two.var(0) / len(two))
    return bool((np.abs(one.mean(0) - two.mean(0)) < 4 * error).all())


def main() -> None:
    """Draw the same number of scenes in turn, and print the ratio."""
    chosen = parse(__doc__, options)
    count = chosen.count or (40 if chosen.quick else 200)
    before, mix = reference(), PromptMix(**MIX)
    bank(chosen.side)  # drawn once a process; not part of a scene
    mix_before = before.PromptMix(**MIX)
    rounds = iter(range(1000))

    def drawn_before() -> list[tuple[float, ...]]:
        means: list[tuple[float, ...]] = []
        number = next(rounds)
        for k in range(count):
            scene = before.prompted(np.random.default_rng([number, k]), chosen.side, mix_before)
            means.append((scene["image"].mean(), scene["image"].std(), scene["salient"].mean()))
        return means

    def drawn_now() -> list[tuple[float, ...]]:
        means: list[tuple[float, ...]] = []
        number = next(rounds)
        for k in range(count):
            scene = draw_prompts(np.random.default_rng([number, k]), chosen.side, mix, small=NO_SMALL)
            means.append((scene.image.mean(), scene.image.std(), scene.salient.mean()))
        return means

    old, new = measure(drawn_before, drawn_now, rounds=3)
    line = report(
        f"scene of {chosen.side} px with {mix.prompts} questions, one core",
        old, new, equal=agree(old.result, new.result), unit="s a scene", per=count, names=("drawn again", "from the bank"),
    )  # fmt: skip
    each = count / new.seconds
    print(
        f"  {each:.0f} scenes a second and core; {chosen.cores} processes: {each * chosen.cores * 3600 / 1e6:.1f} M an hour"
    )
    finish(chosen, line)


if __name__ == "__main__":
    main()
