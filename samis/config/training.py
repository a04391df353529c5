"""The keys of a config about training and scoring; see ``samis.config.schema``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from samis.config.fields import (
    Count,
    Flag,
    OneOf,
    Positive,
    PositiveNumber,
    Section,
    Share,
    ShareBelowOne,
    Text,
    Weight,
    table,
)

PRECISION = OneOf(
    table("samis.training.precision", "CHOICES"), fp32="no", float32="no", float16="fp16", bfloat16="bf16"
)
TRACKERS = OneOf("tensorboard", "wandb", "mlflow", "none")
COMPILING = OneOf(table("samis.training.compiling", "CHOICES"), true="default", yes="default", false="no", off="no")


@dataclass
class LossConfig(Section):
    """Weights of the loss's parts; 0 leaves a part out."""

    bce: Weight = 1.0
    """Binary cross-entropy."""
    edge_weight: Weight = 5.0
    """Extra weight of boundaries in bce (5 in F3Net)."""
    balance: Share = 0.0
    """Class balancing in bce."""
    iou: Weight = 1.0
    """Soft IoU."""
    dice: Weight = 0.0
    """Soft Dice, which is also MINet's consistency-enhanced loss (CEL)."""
    focal: Weight = 0.0
    """Focal loss (20 in SAM's own mix)."""
    l1: Weight = 0.0
    """Absolute difference."""
    ssim: Weight = 0.0
    """1 - structural similarity (1 in BASNet)."""
    cldice: Weight = 0.0
    """Centreline Dice, for cracks and other thin structures (0.5 beside dice 0.5 in its paper)."""
    cldice_steps: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    """Erosions of cldice's soft skeleton: at least half of the widest structure's width in frame pixels."""


@dataclass
class OptimConfig(Section):
    """AdamW and its schedule: linear warm-up, then a cosine."""

    lr: PositiveNumber = 0.001
    """Learning rate of new weights."""
    pretrained_lr_scale: Weight = 0.2
    """Factor of the learning rate for pretrained weights that are tuned."""
    weight_decay: Weight = 0.01
    """Weight decay of matrices; norms, biases, tokens and positions never decay."""
    warmup_share: Share = 0.05
    """Share of all steps in which the learning rate rises."""
    final_lr_share: Share = 0.01
    """The cosine's end, as a share of lr."""
    clip_norm: Weight = 1.0
    """Largest gradient norm; 0 never clips."""
    beta2: ShareBelowOne = 0.999
    """Second beta of AdamW."""


@dataclass
class TrainingConfig(Section):
    """The training loop."""

    epochs: Positive = 30
    """Passes over the training images."""
    minutes: PositiveNumber | None = None
    """Wall clock after which the run ends, validation included, its learning rate scheduled over that time; whichever
    of epochs and minutes is over first ends it; null leaves it to epochs."""
    ema: ShareBelowOne = 0.0
    """Decay of the average of the trained weights that is validated and kept, such as 0.99; 0 keeps none."""
    batch_size: Positive = 8
    """Images of a process and micro-batch."""
    accumulation: Positive = 1
    """Micro-batches of a step."""
    mixed_precision: Annotated[Text, PRECISION] = "auto"
    """Precision of the arithmetic; no is float32; auto is what accelerate launch was given, else bf16 where the GPU has it,
    else no."""
    compile: Annotated[Text, COMPILING] = "no"
    """Mode of torch.compile for full training batches; where it cannot, the run says so and goes on without."""
    workers: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0
    """Loader processes."""
    prefetch: Positive = 2
    """Batches that each loader process reads ahead."""
    log_every: Positive = 20
    """Steps between log lines."""
    validate_every: Positive = 1
    """Epochs between validations."""
    patience: Count = 0
    """Validations without a gain before stopping; 0 never stops early."""
    save_every_min: Weight = 5.0
    """Minutes between resume points inside an epoch."""
    save_every_steps: Count = 0
    """Steps between resume points; 0 goes by time."""
    on_nan: Annotated[Text, OneOf("stop", "skip")] = "stop"
    """What a loss or gradient that is no finite number does: stop the run, or skip the step."""
    nan_limit: Positive = 10
    """Skips in a row after which the run stops all the same."""
    spike_ratio: Weight = 10.0
    """Gradient norms this many times their running median are logged; 0 logs none."""
    collapse_after: Count = 3
    """Validations in a row that predict nothing, or everything, before a warning; 0 never warns."""
    out: Text | None = None
    """Run folder; null makes checkpoints/runs/<experiment>."""
    gallery: Annotated[int, Field(strict=True, ge=0, le=1000)] = 6
    """Validation images drawn into TensorBoard."""
    trackers: Annotated[list[Annotated[Text, TRACKERS]], Field(strict=True)] = field(
        default_factory=lambda: ["tensorboard"]
    )
    """Where the run's numbers are shown; wandb and mlflow, which you install, get numbers and config, tensorboard also
    pictures, PR curves and reference lines; [none] shows them nowhere."""
    keep_resume: Flag = False
    """Keep the resume point of a finished run (half of its folder), so that more epochs or minutes can train it on."""
    allow_changed_data: Flag = False
    """Let a run that was cut go on though images or masks of its splits have changed; both fingerprints are recorded,
    and the best epoch is chosen again on changed validation images."""
    reference_rows: Text | None = "evaluate/results"
    """Folder of score rows; the best zero-shot and specialised row of the data set become lines next to the validation
    in TensorBoard; null, or a folder that does not exist, draws none."""


@dataclass
class MetricsConfig(Section):
    """How maps are scored."""

    protocol: Annotated[Text, OneOf(table("samis.metrics", "PROTOCOLS"))] = "pysod"
    """Set of metrics and how they are computed."""
    names: Annotated[list[Text], Field(strict=True)] = field(default_factory=list)
    """Metrics to compute; [] computes all of the protocol; only by name, under pysod: rates (ber, specificity,
    accuracy, kappa), context_measure, human_correction_effort, msiou, boundary_f (outlines within 2 px)."""
    bootstrap: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1000
    """Resamples for the 95 % intervals; 0 leaves them out."""
    batch_size: Positive = 8
    """Images scored at once."""
    image_rule: Annotated[Text, OneOf(table("samis.decision.image_rules", "IMAGE_RULES"))] = "max"
    """How a whole image is scored for its verdict, OK or defective: max, the map's largest value; top_1_percent_mean, the
    mean of its largest values; region_area, the share of its pixels in defect regions."""
    latency: Flag = True
    """Time up to 20 single images before scoring, for the row's cost; false counts parameters and multiply-adds
    alone."""


@dataclass
class CacheConfig(Section):
    """Where embeddings of a frozen encoder are kept, so that each view is encoded once."""

    embeddings: Annotated[Text, OneOf("auto", "always", "never")] = "auto"
    """When to keep them; auto: wherever the encoder is frozen and views come again; always: or stop and say why not."""
    folder: Text | None = None
    """Folder of the embeddings; null takes checkpoints/embeddings; processes and runs may share it."""
    limit_gb: PositiveNumber = 20.0
    """What the folder may hold; what was used least recently goes first."""
