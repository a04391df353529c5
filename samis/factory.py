"""Config -> objects; the only file that knows every room."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from samis.adapters import apply_adapter
from samis.baselines import BASELINES, build_baseline
from samis.baselines.learner import BaselineLearner
from samis.baselines.references import REFERENCES, BoxReference
from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment, load_config
from samis.core.contracts import Dataset, Segmenter
from samis.core.files import file_sha256
from samis.core.shipped import find_run
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.loading import EpochLoader, build_loader
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.prompts import build_prompter
from samis.sam.candidates import Everything
from samis.sam.embeddings import EmbeddingCache, learns, open_cache
from samis.sam.encoder_options import checkpoint_blocks, compile_encoder
from samis.sam.framing import build_framing
from samis.sam.segmenter import SamSegmenter
from samis.sam.tuning import SamTuning
from samis.sam.weights import find_weights, load_sam
from samis.training.precision import default_device
from samis.training.processes import Processes
from samis.tta import FLIPS, FlippedSegmenter, build_tta


def build_batches(
    config: Experiment,
    dataset: Dataset,
    *,
    training: bool = False,
    rank: int = 0,
    world: int = 1,
    batch_size: int | None = None,
) -> EpochLoader:
    """Build one process's share of a data set's batches: augmented and shuffled for training, plain and in order else.

    ``batch_size`` None takes the config's, of training or of metrics.
    """
    augment = build_augment(config.data.augment) if training else None
    if config.data.salt_pepper and not training:
        augment = build_augment({"salt_pepper": config.data.salt_pepper})
    return build_loader(
        dataset,
        build_framing(config.frame, config.segmenter.architecture),
        build_prompter(config.prompt),
        batch_size=batch_size or (config.training.batch_size if training else config.metrics.batch_size),
        shuffle=training,
        augment=augment,
        workers=config.training.workers,
        prefetch=config.training.prefetch,
        seed=config.seed,
        training=training,
        rank=rank,
        world=world,
        clean_share=config.data.clean_share if training else 0.0,
    )


def build_evaluator(
    config: Experiment, dataset: Dataset, *, accelerator: Accelerator | Processes | None = None, **options: Any
) -> Evaluator:
    """Build the evaluator of one data set, or of this process's share of it."""
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    m = config.metrics
    return Evaluator(
        build_batches(config, dataset, rank=rank, world=world),
        dataset.ids,
        protocol=m.protocol,
        names=m.names,
        device=accelerator.device if accelerator else default_device(),
        **{"bootstrap": m.bootstrap, **options},
    )


def cache_embeddings(config: Experiment, user: Any, scored: Dataset, *, training: EpochLoader | None = None) -> str:
    """Let a SAM encode each view only once, where its encoder is frozen; return a line about it, "" where it is not.

    Args:
        config: ``cache`` says whether and where.
        user: a learner or a segmenter; only SAM's is changed.
        scored: what it scores. training: its training batches, if it trains.

    Raises:
        UserError: as ``samis.sam.embeddings.open_cache``; or ``always``, but training never shows a view twice.
    """
    passes = 1
    if isinstance(user, FlippedSegmenter):
        user, passes = user.inner, len(FLIPS)
    if not isinstance(user, SamTuning | SamSegmenter):
        return ""
    sam = user.adapted.sam if isinstance(user, SamTuning) else user.sam
    views = (
        passes
        * len(scored)
        * (
            len(build_framing(config.frame, config.segmenter.architecture).placements(scored[0].image.shape[:2]))
            if len(scored)
            else 0
        )
    )
    again = training.views_an_image if training else 1
    if training and again is not None:
        views += again * training.images
    if again is None and config.cache.embeddings == "always" and not learns(sam):
        raise UserError(
            f"cache.embeddings: expected training views that come again, but data.augment={config.data.augment} or the crops "
            "of frame.tile_px make each anew; set data.augment=light and frame.tile_px=0, or cache.embeddings=auto"
        )
    user.embed, said = open_cache(config.cache, sam, views=views)
    if training is not None and again is not None and isinstance(user.embed, EmbeddingCache):
        training.read_embeddings(user.embed.reader)
    hint = "; training's are not, its views never come again (data.augment=light would)"
    return said + hint if said and again is None else said


def load_config_sam(config: Experiment) -> Any:
    """Load the SAM that a config names, at its frame, with the encoder's options."""
    s = config.segmenter
    sam = load_sam(
        s.architecture, weights=s.weights, frame_px=build_framing(config.frame, config.segmenter.architecture).frame_px
    )
    if s.checkpoint_activations:
        checkpoint_blocks(sam.image_encoder)
    if s.compile:
        compile_encoder(sam.image_encoder)
    return sam


def build_learner(config: Experiment) -> Any:
    """Build what is trained: SAM with an adapter, or a baseline network; what starts at random starts by ``seed``."""
    torch.manual_seed(config.seed)
    s = config.segmenter
    if s.name in BASELINES:
        given = s.weights if s.weights != "random" else None
        network = build_baseline(s.name, backbone=s.backbone, pretrained=given or s.pretrained)
        return BaselineLearner(network, config.loss, name=s.name, pretrained_lr_scale=config.optim.pretrained_lr_scale)
    if s.name != "sam":
        raise UserError(f"segmenter.name: expected something to train (sam, {', '.join(BASELINES)}), got {s.name!r}")
    sam = load_config_sam(config)
    path = find_weights(s.architecture, s.weights)
    base = file_sha256(path) if path else "random"
    adapted = apply_adapter(sam, config.adapter, architecture=s.architecture, weights_sha256=base)

    def segmenter(tuned: Any) -> Segmenter:
        return SamSegmenter(
            tuned, kind="tuned", prompt=config.prompt, mask_rule="single", architecture=s.architecture, weights_sha256=base,
            details={"adapter": dataclasses.asdict(config.adapter)}, embed=learner.embed,
        )  # fmt: skip

    learner = SamTuning(adapted, config.loss, segmenter=segmenter, pretrained_lr_scale=config.optim.pretrained_lr_scale)
    return learner


def build_segmenter(config: Experiment) -> Segmenter:
    """Build what is scored: zero-shot SAM, a run, or a folder of saved maps; with test-time augmentation if asked for.

    Raises:
        UserError: a name that cannot be scored, or test-time augmentation of what is no network.
    """
    s = config.segmenter
    if s.name == "run":
        return load_run(s.run or "", tta=s.tta).segmenter
    if s.tta != "none" and (s.name == "saved_maps" or s.name in REFERENCES):
        raise UserError(
            f"segmenter.tta: expected none for {s.name}, which computes nothing, got {s.tta!r}; leave it out"
        )
    return build_tta(_segmenter(config), s.tta)


def _segmenter(config: Experiment) -> Segmenter:
    s = config.segmenter
    if s.name == "saved_maps":
        if not s.maps:
            raise UserError("segmenter.maps: expected a folder of 8-bit maps for saved_maps, got null")
        return SavedMaps(s.maps)
    if s.name in REFERENCES:
        return BoxReference(s.name)
    if s.name != "sam":
        raise UserError(
            f"segmenter.name: expected sam, saved_maps, {', '.join(REFERENCES)} or run, got {s.name!r}; train a baseline "
            "with train/baseline.py, then score its run folder"
        )
    sam = load_config_sam(config).to(default_device())
    sam.requires_grad_(False)  # nothing learns here, which is what makes its embeddings worth keeping
    path = find_weights(s.architecture, s.weights)
    rule = "single" if s.mask_rule == "all" and config.prompt.kind != "grid" else s.mask_rule
    return SamSegmenter(
        sam,
        prompt=config.prompt,
        mask_rule="top_iou" if rule == "all" else rule,
        everything=Everything(min_iou=s.min_iou, min_stability=s.min_stability),
        architecture=s.architecture,
        weights_sha256=file_sha256(path) if path else None,
    )


@dataclasses.dataclass
class Run:
    """A run folder brought back: its config, the segmenter (and learner) of its best epoch, and how it was trained."""

    config: Experiment
    segmenter: Segmenter
    folder: Path
    birth: dict[str, Any]
    learner: Any = None


def load_run(folder: str | Path, *, tta: str | None = None) -> Run:
    """Load the best weights of a run folder, or of a shipped adapter by its name.

    Args:
        folder: of the run. tta: test-time augmentation in place of the config's ``segmenter.tta``.

    Raises:
        UserError: no run folder, or its base weights are not those it was tuned from.
    """
    folder = find_run(folder)
    config: Experiment = load_config(folder / "config.yaml")
    s = config.segmenter
    if (
        s.name in BASELINES
    ):  # the run's own weights follow, so that the file or package it began with is not needed again
        s = dataclasses.replace(s, pretrained=False, weights=None)
    learner = build_learner(dataclasses.replace(config, segmenter=s))
    learner.load(folder / "best")
    learner.to(default_device()).eval()
    provenance_file = folder / "provenance.json"
    birth = json.loads(provenance_file.read_text(encoding="utf-8")) if provenance_file.exists() else {}
    config.segmenter.tta = tta if tta is not None else config.segmenter.tta
    return Run(config, build_tta(learner.segmenter(), config.segmenter.tta), folder, birth, learner)
