"""Config -> promptable pretraining; builds the learner and its scenes, and runs the trainer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pretraining.learner import PromptablePretraining, PromptValidation
from pretraining.promptable import PromptedScenes, PromptMix, SceneLoader
from pretraining.scene_prompts import draw_prompts
from pretraining.scenes import draw_scene
from pretraining.textures import bank
from samis.config import Pretraining, check, load_config, to_yaml
from samis.core.files import file_sha256, replacing, write_atomic
from samis.core.provenance import provenance
from samis.core.weight_files import read_tensors, write_tensors
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, build_sam, check_architecture
from samis.sam.attention import use_fused_attention
from samis.sam.weights import load_sam
from samis.training.precision import open_accelerator, resolve_precision
from samis.training.trainer import Selection, Trainer

VALIDATION_SEED = 10_000
"""Seed of the fixed validation scenes; training seeds stay below."""


def pretrain(config: Pretraining, *, dry_run: bool = False) -> Path:
    """Pretrain a small SAM on drawn scenes; return the run folder.

    Args:
        config: of the stage.
        dry_run: whether to print the config and the drawing speed only.

    Raises:
        UserError: the architecture is unknown, the stage before has no weights, no package has the trunk's weights, or this
            machine lacks the precision.
    """
    resolve_precision(config.training.mixed_precision)  # a mistake is reported before anything is built
    check(config)
    torch.manual_seed(config.seed)
    learner = PromptablePretraining(_sam(config), config.loss)
    if dry_run:
        print(to_yaml(config))
        fixed = _scenes(config, seed=VALIDATION_SEED, batch_size=1, batches=1)
        print(drawing_note(fixed, workers=config.training.workers))
        return Path()
    accelerator = open_accelerator(config.training.mixed_precision)
    folder = Path(config.training.out or f"checkpoints/runs/{config.experiment}")
    scenes = _scenes(config, seed=config.seed, batch_size=config.training.batch_size, batches=config.scenes.batches)
    scenes.rank, scenes.world = accelerator.process_index, accelerator.num_processes
    count = max(1, config.scenes.validation_images // 16)
    fixed = _scenes(config, seed=VALIDATION_SEED, batch_size=16, batches=count)
    trainer = Trainer(
        learner,
        SceneLoader(scenes, workers=config.training.workers, prefetch=config.training.prefetch),
        PromptValidation([fixed.batch(index) for index in range(count)], device=accelerator.device),
        selection=Selection(config.keep_best),
        optim=config.optim,
        training=config.training,
        folder=folder,
        accelerator=accelerator,
        config=config,
    )
    accelerator.print(drawing_note(scenes, workers=config.training.workers))
    best = trainer.fit()
    if accelerator.is_main_process and not (trainer.finished and (folder / "provenance.json").exists()):
        write_atomic(
            folder / "provenance.json",
            json.dumps(provenance() | trainer.record() | {"validation": best.metrics}, indent=1) + "\n",
        )
    trainer.end()
    return folder


def drawing_note(scenes: PromptedScenes, *, workers: int, seconds: float = 0.5) -> str:
    """Draw for half a second on this core and return how many scenes the loader's processes can draw in an hour.

    Args:
        scenes: what is drawn; its state is not changed.
        workers: of the loader.
        seconds: of processor time.
    """
    bank(scenes.side)
    start, drawn = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds or drawn < 4:
        draw_prompts(np.random.default_rng([VALIDATION_SEED, drawn]), scenes.side, scenes.mix, small=scenes.small)
        drawn += 1
    per_second, cores = drawn / spent, max(1, min(workers, os.cpu_count() or 1))
    return (
        f"drawing: {per_second:,.0f} scenes/s per core, {cores} loader process{'es' if cores > 1 else ''}: "
        f"at most {per_second * cores * 3600 / 1e6:.1f} M scenes an hour"
    )


def embed(runs: list[Path], folder: Path) -> Path:
    """Write the last stage's best weights in half precision, with each stage's config and validation curve; return the file.

    Stages are numbered from 1, or go on after those of the folder where the first run started from its weights.

    Args:
        runs: run folders of the stages, in order.
        folder: ``checkpoints/samis_lite``.

    Raises:
        UserError: a stage has not been run.
    """
    for run in runs:
        if not (run / "best" / "model.safetensors").is_file():
            raise UserError(
                f"{run}: expected the run folder of a finished stage, with best/model.safetensors", code="E-TRAIN-STAGE"
            )
    folder.mkdir(parents=True, exist_ok=True)
    init = load_config(runs[0] / "config.yaml", schema=Pretraining).init
    continues = init is not None and Path(init).resolve() in (
        folder.resolve(),
        (folder / "model.safetensors").resolve(),
    )
    before = len(list(folder.glob("stage_*_config.yaml"))) if continues else 0
    weights = {name: tensor.half() for name, tensor in read_tensors(runs[-1] / "best" / "model.safetensors").items()}
    path = folder / "model.safetensors"
    with replacing(path) as temporary:
        write_tensors(weights, temporary)
    if not continues:
        for old in folder.glob("stage_*"):
            old.unlink()
    for number, run in enumerate(runs, before + 1):
        for name in ("config.yaml", "validation.jsonl"):
            write_atomic(folder / f"stage_{number}_{name}", (run / name).read_text(encoding="utf-8"))
    return path


def embedded_note(path: Path) -> str:
    """Return what to do after ``embed``: the model card states the file's sha256 and its validation."""
    return f"{path}: sha256 {file_sha256(path)}; put it and the new validation into {path.parent / 'README.md'}"


def draw_sheet(path: Path, *, side: int = 192, columns: int = 8, rows: int = 3, seed: int = 0) -> None:
    """Draw a contact sheet of scenes: pictures, and below each its objects in shades of grey.

    Args:
        path: the PNG to write.
        side: of a scene, px.
        columns: scenes in a row.
        rows: rows of scenes.
        seed: of the scenes.
    """
    lines = []
    for row in range(rows):
        scenes = [draw_scene(np.random.default_rng([seed, row, column]), side) for column in range(columns)]
        lines.append(np.hstack([np.pad(scene.image, 2, constant_values=255) for scene in scenes]))
        shades = [np.linspace(90, 255, max(1, len(scene.objects)))[:, None, None] for scene in scenes]
        drawn = [
            (s.objects * shade).max(0) if len(s.objects) else s.salient * 0.0
            for s, shade in zip(scenes, shades, strict=True)
        ]
        lines.append(np.hstack([np.pad(each.astype(np.uint8), 2, constant_values=255) for each in drawn]))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(lines)).save(path)


def _sam(config: Pretraining) -> torch.nn.Module:
    check_architecture(config.architecture)
    if config.pretrained not in ("imagenet", "random"):
        raise UserError(
            f"pretrained: expected imagenet or random, got {config.pretrained!r}", code="E-TRAIN-PRETRAINED"
        )
    if config.init:
        path = Path(config.init)
        if not any((path / name).is_file() for name in ("", "model.safetensors", "best/model.safetensors")):
            raise UserError(
                f"init: {path}: expected the weights of the stage before; run its config first", code="E-TRAIN-STAGE"
            )
        return load_sam(config.architecture, weights=path, frame_px=config.frame_px)
    sam = build_sam(config.architecture, frame_px=config.frame_px)
    trunk = ARCHITECTURES[config.architecture].trunk
    if trunk and config.pretrained == "imagenet":
        sam.image_encoder.patch_embed.load_imagenet(trunk)
    use_fused_attention(sam.image_encoder)
    return sam


def _scenes(config: Pretraining, *, seed: int, batch_size: int, batches: int) -> PromptedScenes:
    c = config.scenes
    mix = PromptMix(boxes=c.boxes, points=c.points, clicks=c.clicks, jitter=c.jitter, grid_px=c.grid_px)
    return PromptedScenes(side=config.frame_px, batch_size=batch_size, batches=batches, seed=seed, mix=mix)
