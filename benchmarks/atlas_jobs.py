"""The jobs of ``benchmarks/peft_atlas.py``: one training with its scores, a timing, zero-shot SAM's scores; each makes a row."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NAMES = ["s_measure", "mae", "iou"]
TARGETS = ["adapter.encoder=[qkv, proj, mlp]", "adapter.decoder=[attention, mlp]"]
LOW_RANK = ["adapter.rank=16", "adapter.alpha=32"]


@dataclass(frozen=True)
class Entry:
    """A line of the atlas.

    Attributes:
        label: on the page.
        lrs: learning rates of which validation chooses.
        keys: overrides of the config's section ``adapter``.
    """

    label: str
    lrs: tuple[float, ...]
    keys: list[str] = field(default_factory=list)


def _of_peft(label: str, method: str, lrs: tuple[float, ...], *keys: str) -> Entry:
    return Entry(label, lrs, ["adapter.name=peft", f"adapter.method={method}", *TARGETS, *LOW_RANK, *keys])


METHODS: dict[str, Entry] = {
    "lora": Entry("LoRA", (5e-4, 1.5e-3, 5e-3), [*TARGETS, *LOW_RANK]),
    "dora": Entry("DoRA", (5e-4, 1.5e-3, 5e-3), [*TARGETS, *LOW_RANK, "adapter.dora=true"]),
    "rslora": Entry("rsLoRA", (2e-4, 6e-4, 2e-3), [*TARGETS, *LOW_RANK, "adapter.rslora=true"]),
    "miss": _of_peft("MiSS", "miss", (5e-4, 1.5e-3, 5e-3)),
    "shira": _of_peft("SHiRA", "shira", (5e-4, 1.5e-3, 5e-3)),
    "road": _of_peft("RoAd", "road", (2e-3, 6e-3, 2e-2)),
    "lokr": _of_peft("LoKr", "lokr", (1e-3, 3e-3, 1e-2)),
    "vera": _of_peft("VeRA", "vera", (5e-3, 1.5e-2, 5e-2)),
    "ia3": _of_peft("IA3", "ia3", (3e-3, 1e-2, 3e-2)),
    "ln_tuning": _of_peft("LayerNorm", "ln_tuning", (1e-3, 3e-3, 1e-2)),
    "bottleneck": Entry(
        "bottleneck", (5e-4, 1.5e-3, 5e-3),
        ["adapter.name=bottleneck", "adapter.encoder=[proj, mlp]", "adapter.decoder=[attention, mlp]", "adapter.width=32"],
    ),
    "full": Entry("full", (1e-4, 3e-4, 1e-3), ["adapter.name=unfreeze", "adapter.preset=full"]),
}  # fmt: skip
SURFACES: dict[str, list[str]] = {
    "steel": ["data.name=sd_saliency_900"],
    "tile": ["data.name=magnetic_tile"],
    "rail": ["data.name=rsdds", "frame.tile_px=160"],
    "drawn_steel": ["data.name=procedural", "data.options={surface: steel, clean_share: 0.0}"],
    "drawn_tile": ["data.name=procedural", "data.options={surface: tile, clean_share: 0.0}"],
    "drawn_rail": ["data.name=procedural", "data.options={surface: rail, clean_share: 0.0}", "frame.tile_px=160"],
}


def config_of(job: Row) -> Any:
    """Return the experiment of a job; all but adapter, seed and learning rate are the same for all methods."""
    from samis.config import Experiment, apply_overrides

    keys = [
        *SURFACES[job["surface"]], f"frame.frame_px={job['frame_px']}", f"seed={job.get('seed') or 0}",
        "segmenter.mask_rule=single", f"training.batch_size={job['batch_size']}", f"optim.lr={job.get('lr') or 1e-3}",
        "optim.pretrained_lr_scale=1.0", "optim.final_lr_share=0.02", f"metrics.names=[{', '.join(NAMES)}]",
    ]  # fmt: skip
    return apply_overrides(Experiment(), keys + (METHODS[job["method"]].keys if job.get("method") in METHODS else []))


def run(job: Row, scratch: str) -> list[Row]:
    """Do a job in a process of its own and return its rows.

    Args:
        job: as ``peft_atlas.AtlasPlan`` makes it.
        scratch: folder for the batches, which all methods share.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import torch

    torch.set_num_threads(1)
    if job["kind"] == "times":
        return [row for each in job["jobs"] for row in run(each, scratch)]
    if job["kind"] == "batches":
        batches_of(job, Path(scratch))
        return []
    kinds = {"training": train, "time": take_time, "zero_shot": zero_shot}
    row = job | kinds[job["kind"]](job, Path(scratch)) | {"torch": torch.__version__, "device": device_name()}
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [row]


def device_name() -> str:
    """Return the GPU's name, or CPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def batches_of(job: Row, scratch: Path) -> list[Any]:
    """Return the training batches of a surface and seed, drawn once for all methods; others wait for the job that draws them."""
    import torch
    from filelock import FileLock

    from samis.core.contracts import Batch, Placement, Prompt
    from samis.data.base import subset
    from samis.data.configured import load_split
    from samis.factory import build_batch_maker

    config = config_of(job)
    path = scratch / f"{job['surface']}-{config.seed}.pt"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            data = load_split(config.data, config.data.train)
            if job["images"]:
                data = subset(data, min(job["images"], len(data)), seed=0)
            loader, epoch, result = build_batch_maker(config, training=True)(data), 0, list[Any]()
            while len(result) < job["steps"]:
                loader.set_epoch(epoch)
                whole = (batch for batch in loader if len(batch.images) == job["batch_size"] or len(loader) == 1)
                result += [batch for batch, _ in zip(whole, range(job["steps"] - len(result)), strict=False)]
                epoch += 1
            torch.save([replace(batch, truths=[]) for batch in result], path)  # training reads the framed masks alone
    with torch.serialization.safe_globals([Batch, Placement, Prompt]):
        return torch.load(path, weights_only=True, mmap=True)  # type: ignore[no-any-return]


def build(job: Row) -> tuple[Any, Any, Any]:
    """Return the learner, what makes its steps, and its optimizer."""
    from samis.factory import build_learner
    from samis.training.optim import build_optimizer
    from samis.training.precision import open_accelerator
    from samis.training.stepping import Stepper

    config = config_of(job)
    learner, accelerator = build_learner(config), open_accelerator("auto")
    learner.to(accelerator.device).train()
    optimizer = build_optimizer(learner.parameter_groups(), config.optim)
    model, optimizer = accelerator.prepare(learner, optimizer)
    return (
        learner,
        Stepper(learner, model, optimizer, accelerator, clip_norm=config.optim.clip_norm, halt=True),
        optimizer,
    )


def make_step(stepper: Any, batch: Any, step: int) -> Any:
    """Make one step; return its result."""
    from samis.training.state.step_plan import TrainerState

    return stepper.step([batch], batch.counted, TrainerState(step=step), collect=False)[0]


def train(job: Row, scratch: Path) -> Row:
    """Train one adapter, score it on validation and test, and see whether switched off it is zero-shot SAM."""
    from samis.training.optim import lr_factor, set_lr

    config, batches = config_of(job), batches_of(job, scratch)
    began = time.perf_counter()
    learner, stepper, optimizer = build(job)
    losses = []
    start = time.perf_counter()
    for step, batch in enumerate(batches):
        set_lr(
            optimizer,
            lr_factor(
                step, len(batches), warmup_share=config.optim.warmup_share, final_share=config.optim.final_lr_share
            ),
        )
        losses.append(make_step(stepper, batch, step))
        if step % 20 == 19 or step + 1 == len(batches):
            values = losses[-1].values.read()
            if any(value != value for value in values):
                raise ArithmeticError(f"{job['method']}: loss or gradient is not finite at step {step + 1}")
    step_ms = 1000 * (time.perf_counter() - start) / len(batches)
    learner.eval()
    scores = {split: score(config, learner.segmenter(), split, job["images"]) for split in ("validation", "test")}
    return {
        **scores, "parameters": parameters(learner), "step_ms": round(step_ms, 2), "loss": round(float(values[-1]), 4),
        "seconds": round(time.perf_counter() - began, 1), "off_exact": switched_off(learner, config),
    }  # fmt: skip


def score(config: Any, segmenter: Any, split: str, limit: int) -> Row:
    """Return a split's means and, of the test split, S of each image."""
    from samis.data.base import subset
    from samis.data.configured import load_split
    from samis.evaluation.evaluator import Evaluator
    from samis.factory import build_batch_maker
    from samis.training.precision import default_device

    name = config.data.val if split == "validation" else config.data.test
    data = load_split(config.data, name)
    if limit:
        data = subset(data, min(limit, len(data)), seed=0)
    evaluator = Evaluator(
        build_batch_maker(config)(data), data.ids, protocol="pysod", names=NAMES, device=default_device(), alone=True,
        truth_cache=0,
    )  # fmt: skip
    result = evaluator(segmenter)
    row: Row = {key: round(result.metrics[key], 5) for key in NAMES}
    if split == "test":
        row["images"] = {image["id"]: round(image["s_measure"], 4) for image in result.images if "s_measure" in image}
    return row


def parameters(learner: Any) -> int:
    """Return how many numbers are trained; one that several layers share counts once."""
    return sum(each.numel() for each in learner.parameters() if each.requires_grad)


def switched_off(learner: Any, config: Any) -> bool:
    """Return whether the trained SAM, switched off, gives zero-shot SAM's logits bit for bit, on the CPU."""
    import torch

    from samis.core.contracts import Prompt
    from samis.sam.configured import configured_sam
    from samis.sam.forward import answer

    plain, adapted = configured_sam(config.segmenter, config.frame)[0], learner.to("cpu").adapted
    side = config.frame.frame_px
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tuned, wanted = (answer(sam, picture, Prompt()).logits for sam in (adapted.sam, plain))
        with adapted.disabled():
            off = answer(adapted.sam, picture, Prompt()).logits
    return torch.equal(off, wanted) and not torch.equal(tuned, wanted)


def take_time(job: Row, scratch: Path) -> Row:
    """Return the median time of a step, in ms, of a method on its own process; on a GPU after it has done its work."""
    import torch

    learner, stepper, _ = build({**job, "seed": 0})
    batches = batches_of({**job, "seed": 0}, scratch)
    times = []
    for step, batch in enumerate((batches * 13)[:13]):
        start = time.perf_counter()
        make_step(stepper, batch, step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return {"ms": round(sorted(times[3:])[5], 2), "parameters": parameters(learner)}


def zero_shot(job: Row, scratch: Path) -> Row:
    """Return the scores of SAM as it is, with the empty prompt."""
    from samis.sam.configured import zero_shot as build_zero_shot
    from samis.training.precision import default_device

    config = config_of(job)
    segmenter = build_zero_shot(config.segmenter, config.frame, config.prompt, device=default_device())
    return {"test": score(config, segmenter, "test", job["images"])}
