"""Config -> objects; the only module that imports every package."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from samis.adapters import apply_adapter
from samis.baselines import BASELINES, build_baseline
from samis.baselines.learner import BaselineLearner
from samis.baselines.references import REFERENCES, BoxReference
from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment
from samis.core.contracts import Segmenter
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.loading import BatchMaker
from samis.errors import UserError
from samis.prompts import build_prompter
from samis.sam.configured import configured_sam, zero_shot
from samis.sam.framing import build_framing
from samis.sam.interface import family_of
from samis.sam.segmenter import SamSegmenter
from samis.sam.tuning import SamTuning
from samis.training.precision import default_device
from samis.tta import build_tta


def build_batch_maker(config: Experiment, *, training: bool = False) -> BatchMaker:
    """Build what turns data sets into batches: augmented and shuffled for training, plain and in order else."""
    noise = build_augment(noise=config.data.salt_pepper) if config.data.salt_pepper else None
    return BatchMaker(
        build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights),
        build_prompter(config.prompt, training=training, objects=training and config.adapter.all_masks),
        config.training.batch_size if training else config.metrics.batch_size,
        augment=build_augment(config.data.augment) if training else noise,
        workers=config.training.workers,
        prefetch=config.training.prefetch,
        seed=config.seed,
        training=training,
        clean_share=config.data.clean_share if training else 0.0,
    )


def build_learner(config: Experiment) -> Any:
    """Build what is trained: SAM with an adapter, or a baseline network; what starts at random starts by ``seed``."""
    torch.manual_seed(config.seed)
    s = config.segmenter
    if s.name in BASELINES:
        given = s.weights if s.weights != "random" else None
        network = build_baseline(s.name, backbone=s.backbone, pretrained=given or s.pretrained)
        return BaselineLearner(network, config.loss, name=s.name, pretrained_lr_scale=config.optim.pretrained_lr_scale)
    if s.name != "sam":
        raise UserError(
            f"segmenter.name: expected something to train (sam, {', '.join(BASELINES)}), got {s.name!r}",
            code="E-CONFIG-NETWORK",
        )
    sam, sha256 = configured_sam(s, config.frame)
    base = sha256 or "random"
    targets = family_of(sam).targets
    adapted = apply_adapter(sam, config.adapter, architecture=s.architecture, weights_sha256=base, targets=targets)

    def segmenter(tuned: Any) -> Segmenter:
        return SamSegmenter(
            tuned, kind="tuned", prompt=config.prompt, mask_rule="single", architecture=s.architecture, weights_sha256=base,
            details={"adapter": dataclasses.asdict(config.adapter)}, embed=learner.embed,
        )  # fmt: skip

    learner = SamTuning(
        adapted, config.loss, segmenter=segmenter, pretrained_lr_scale=config.optim.pretrained_lr_scale,
        all_masks=config.adapter.all_masks,
    )  # fmt: skip
    return learner


def load_learner(config: Experiment, best: Path) -> Any:
    """Build what a run trained, with the weights that it kept, on the device and in evaluation mode.

    Args:
        config: the run's own.
        best: folder of the weights; the file or package that a network began with is not needed again.

    Raises:
        UserError: no such weights, or they belong to another network or base.
    """
    s = config.segmenter
    if s.name in BASELINES:
        s = dataclasses.replace(s, pretrained=False, weights=None)
    learner = build_learner(dataclasses.replace(config, segmenter=s))
    learner.load(best)
    return learner.to(default_device()).eval()


def build_segmenter(config: Experiment, *, best: Path | None = None) -> Segmenter:
    """Build what predicts: a trained network, zero-shot SAM, a folder of saved maps or a reference; with ``segmenter.tta``.

    Args:
        config: what to build; of a run, its own.
        best: folder of the weights that a run kept; None builds what is not trained.

    Raises:
        UserError: a name that cannot be scored, test-time augmentation of what is no network, or saved maps of noisy images.
    """
    s = config.segmenter
    if best is not None:
        learner = load_learner(config, best)
        return build_tta(learner.segmenter(), s.tta)
    if s.tta != "none" and (s.name == "saved_maps" or s.name in REFERENCES):
        raise UserError(
            f"segmenter.tta: expected none for {s.name}, which computes nothing, got {s.tta!r}; leave it out",
            code="E-CONFIG-TTA",
        )
    if s.name == "saved_maps":
        if not s.maps:
            raise UserError(
                "segmenter.maps: expected a folder of 8-bit maps for saved_maps, got null", code="E-CONFIG-MAPS"
            )
        if config.data.salt_pepper:
            raise UserError(
                f"data.salt_pepper: expected 0 for saved maps, got {config.data.salt_pepper}: they were made without this "
                "noise; score maps of noisy images under a name that says so",
                code="E-CONFIG-NOISE",
            )
        return SavedMaps(s.maps)
    if s.name in REFERENCES:
        return BoxReference(s.name)
    if s.name != "sam":
        raise UserError(
            f"segmenter.name: expected sam, saved_maps, {', '.join(REFERENCES)} or run, got {s.name!r}; train a baseline "
            "with samis baseline, then score its run folder",
            code="E-CONFIG-NETWORK",
        )
    return build_tta(zero_shot(s, config.frame, config.prompt, device=default_device()), s.tta)
