"""One YAML file is one whole experiment: dataclasses in the order of the street, dotted overrides, typos answered.

This module imports no heavy library, so that ``--help`` and a mistake answer at once. Every other room may import the
section it is built from; this one imports no room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from samis import config_files
from samis.config_files import ConfigError, apply_overrides, check, describe_keys, from_dict, to_dict, to_yaml
from samis.config_rules import Range, one_of, table

__all__ = ["ConfigError", "apply_overrides", "check", "describe_keys", "from_dict", "load_config", "to_dict", "to_yaml"]

T = TypeVar("T")
Count = Annotated[int, Range(low=0)]
Positive = Annotated[int, Range(low=1)]
Share = Annotated[float, Range(low=0, high=1)]
Weight = Annotated[float, Range(low=0)]
Architecture = Annotated[
    str,
    one_of(table("samis.sam.architectures", "ARCHITECTURES"), later=table("samis.sam.architectures", "REMOVED")),
]
SEGMENTERS = one_of(
    "sam", "saved_maps", "run", table("samis.baselines", "BASELINES"), table("samis.baselines.references", "REFERENCES")
)
ENCODER_WORDS = one_of(table("samis.adapters.targets", "ENCODER"), table("samis.adapters.targets", "ENCODER_WHOLE"))


@dataclass
class DataConfig:
    """Which images.

    Attributes:
        name: key in DATASETS: sd_saliency_900, magnetic_tile, nrsd_mn, rsdds, folder, coco, labelme, procedural.
        label: what rows, tables, file names and cards call the data set; null takes its name, and of your own data (folder,
            coco, labelme) the folder's name too.
        root: folder of the download; null looks in $SAMIS_DATA and ../shared/data.
        train: split to learn from. val: split that chooses the best epoch. test: split that is only ever scored.
        augment: none, light or default.
        limit: use only this many training images, drawn by seed (few-shot); 0 uses all. With clean_share: so many defective
            ones.
        clean_share: share of an epoch's images drawn from the defect-free ones (class "clean"), in [0, 0.9], each defective
            image coming once; 0 leaves a split as it is.
        salt_pepper: share of pixels replaced by noise when scoring, in [0, 1).
        check: look the splits over before training (pairs, sizes, some masks, one photo in two splits); errors stop it.
        options: further arguments of the data set, e.g. {csv: pairs.csv}; {split: by_tile} chooses magnetic_tile's second
            division.
    """

    name: Annotated[str, one_of(table("samis.data", "DATASETS"))] = "sd_saliency_900"
    label: str | None = None
    root: str | None = None
    train: str = "train"
    val: str = "val"
    test: str = "test"
    augment: Annotated[str, one_of(table("samis.data.augment", "PRESETS"))] = "default"
    limit: Count = 0
    clean_share: Annotated[float, Range(low=0, high=0.9)] = 0.0
    salt_pepper: Annotated[float, Range(low=0, below=1)] = 0.0
    check: bool = True
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class FrameConfig:
    """How images enter SAM's square frame.

    Attributes:
        frame_px: side of the frame; 0 takes the architecture's own (1024 official, 256 samis_lite).
        tile_px: cut images longer than this into overlapping tiles of this side, file pixels; 0 never cuts.
        overlap: share of a tile that its neighbour repeats.
    """

    frame_px: Count = 0
    tile_px: Count = 0
    overlap: Annotated[float, Range(low=0, below=1)] = 0.25


@dataclass
class PromptConfig:
    """What SAM is asked.

    Attributes:
        kind: empty, grid, whole (no truth needed); box, point (oracles, from the ground truth).
        points_per_side: of the grid.
        per: component (one oracle prompt for each connected defect) or image (one for all of it).
        jitter: deviation of an oracle box's sides, as a share of its size.
    """

    kind: Annotated[str, one_of(table("samis.prompts", "PROMPTERS"))] = "empty"
    points_per_side: Positive = 16
    per: Annotated[str, one_of(table("samis.prompts.box", "PER"))] = "component"
    jitter: Weight = 0.0


@dataclass
class SegmenterConfig:
    """Who answers.

    Attributes:
        name: sam, saved_maps, run (a tuned SAM or trained baseline from its run folder), a baseline's name, or filled_box,
            otsu_box (trivial references).
        architecture: vit_b, vit_l, vit_h, samis_lite.
        weights: checkpoint file; null takes the embedded one of samis_lite, or checkpoints/sam/ for the official sizes;
            "random" starts from scratch. For a baseline: a local file of its backbone's weights, timm's or torchvision's.
        mask_rule: how many masks become one map: one of MASK_RULES, or "all" to score every rule from one pass.
        min_iou: predicted IoU that a mask of the grid must exceed. min_stability: stability that it must reach.
        maps: folder of 8-bit maps, for saved_maps; several with commas between: parts of one set, or methods whose mean is scored.
        run: run folder, for run.
        checkpoint_activations: compute the encoder's blocks again in the backward pass: less memory, a third more time.
        compile: let torch.compile speed the encoder up; where it cannot, the run says so and goes on without.
        tta: test-time augmentation when scoring and predicting: none, or flips (the mean of the maps of an image mirrored
            left-right, top-bottom, both and not at all: four times the time).
        backbone: timm feature extractor, for a baseline; null takes its paper's.
        pretrained: start the backbone from ImageNet weights: tf_efficientnet_lite0 and lite2 from a package (samis[imagenet]),
            others by timm's download (needs a network or a filled cache).
    """

    name: Annotated[str, SEGMENTERS] = "sam"
    architecture: Architecture = "samis_lite"
    weights: str | None = None
    mask_rule: Annotated[str, one_of(table("samis.sam.merge", "MASK_RULES"), "single", "all")] = "top_iou"
    min_iou: Share = 0.88
    min_stability: Share = 0.95
    maps: str | None = None
    run: str | None = None
    checkpoint_activations: bool = False
    compile: bool = False
    tta: Annotated[str, one_of(table("samis.tta", "KINDS"))] = "none"
    backbone: str | None = None
    pretrained: bool = False


@dataclass
class AdapterConfig:
    """What is tuned.

    Attributes:
        name: lora, bottleneck, unfreeze, none.
        encoder: modules of the image encoder it reaches: q, k, v, qkv, proj, mlp, and (lora only, trained whole) stem, neck;
            empty leaves the encoder alone.
        decoder: of the mask decoder: attention, mlp; empty leaves it alone; [full] trains it whole.
        rank: of LoRA. alpha: LoRA's numerator, the update is scaled by alpha / rank. dropout: on LoRA's input.
        dora: weight-decomposed LoRA. rslora: scale by alpha / sqrt(rank).
        width: inner width of a bottleneck adapter.
        preset: of unfreeze: decoder, norm, full.
    """

    name: Annotated[str, one_of(table("samis.adapters", "ADAPTERS"))] = "lora"
    encoder: list[Annotated[str, ENCODER_WORDS]] = field(default_factory=list)
    decoder: list[Annotated[str, one_of(table("samis.adapters.targets", "DECODER"), "full")]] = field(
        default_factory=lambda: ["attention", "mlp"]
    )
    rank: Positive = 8
    alpha: Annotated[float, Range(above=0)] = 16.0
    dropout: Annotated[float, Range(low=0, below=1)] = 0.0
    dora: bool = False
    rslora: bool = False
    width: Positive = 32
    preset: Annotated[str, one_of(table("samis.adapters.unfreeze", "PRESETS"))] = "decoder"


@dataclass
class LossConfig:
    """Weights of the loss's parts; 0 leaves a part out.

    Attributes:
        bce: binary cross-entropy. edge_weight: extra weight of rims in it (5 in F3Net).
        balance: class balancing in it, in [0, 1].
        iou: soft IoU. dice: soft Dice, which is also MINet's consistency-enhanced loss (CEL).
        focal: focal loss (20 in SAM's own mix). l1: absolute difference. ssim: 1 - structural similarity (1 in BASNet).
    """

    bce: Weight = 1.0
    edge_weight: Weight = 5.0
    balance: Share = 0.0
    iou: Weight = 1.0
    dice: Weight = 0.0
    focal: Weight = 0.0
    l1: Weight = 0.0
    ssim: Weight = 0.0


@dataclass
class OptimConfig:
    """AdamW and its schedule: linear warm-up, then a cosine.

    Attributes:
        lr: rate of new weights. pretrained_lr_scale: factor for pretrained weights that are tuned.
        weight_decay: of matrices; norms, biases, tokens and positions never decay.
        warmup_share: of all steps. final_lr_share: the cosine's end, as a share of lr.
        clip_norm: largest gradient norm; 0 never clips. beta2: of AdamW.
    """

    lr: Annotated[float, Range(above=0)] = 1e-3
    pretrained_lr_scale: Weight = 0.2
    weight_decay: Weight = 0.01
    warmup_share: Share = 0.05
    final_lr_share: Share = 0.01
    clip_norm: Weight = 1.0
    beta2: Annotated[float, Range(low=0, below=1)] = 0.999


@dataclass
class TrainingConfig:
    """The loop.

    Attributes:
        epochs: passes over the training images.
        minutes: wall clock after which the run ends, validation included, its learning rate scheduled over that time; whichever
            of epochs and minutes is over first ends it; null leaves it to epochs.
        ema: decay of the average of the trained weights that is validated and kept, such as 0.99; 0 keeps none.
        batch_size: images a process and micro-batch.
        accumulation: micro-batches a step.
        mixed_precision: no (float32), bf16, fp16, or auto: what accelerate launch was given, else bf16 where the GPU has it,
            else no.
        compile: no, or torch.compile's mode for full training batches: default, or reduce-overhead, which records CUDA graphs too
            (not with accumulation); where it cannot, the run says so and goes on without.
        workers: loader processes. prefetch: batches that each of them reads ahead. log_every: steps between log lines.
        validate_every: epochs between validations. patience: validations without a gain before stopping; 0 never stops.
        save_every_min: minutes between resume points inside an epoch. save_every_steps: steps between them; 0 goes by time.
        on_nan: what a loss or gradient that is no finite number does: stop, or skip the step. nan_limit: skips in a row
            after which the run stops all the same.
        spike_ratio: gradient norms this many times their running median are told; 0 tells none.
        collapse_after: validations in a row that predict nothing, or everything, before a warning; 0 never warns.
        out: run folder; null makes checkpoints/runs/<experiment>.
        gallery: validation images drawn into TensorBoard.
        allow_changed_data: let a run that was cut go on though images or masks of its splits have changed; both fingerprints are
            recorded, and the best epoch is chosen anew on changed validation images.
        reference_rows: folder of score rows; the best zero-shot and specialised row of the data set become lines beside the
            validation in TensorBoard; null, or a folder that is not there, draws none.
    """

    epochs: Positive = 30
    minutes: Annotated[float | None, Range(above=0)] = None
    ema: Annotated[float, Range(low=0, below=1)] = 0.0
    batch_size: Positive = 8
    accumulation: Positive = 1
    mixed_precision: Annotated[
        str,
        one_of(table("samis.training.precision", "CHOICES"), fp32="no", float32="no", float16="fp16", bfloat16="bf16"),
    ] = "auto"
    compile: Annotated[
        str,
        one_of(table("samis.training.compiling", "CHOICES"), true="default", yes="default", graphs="reduce-overhead"),
    ] = "no"
    workers: Count = 0
    prefetch: Positive = 2
    log_every: Positive = 20
    validate_every: Positive = 1
    patience: Count = 0
    save_every_min: Weight = 5.0
    save_every_steps: Count = 0
    on_nan: Annotated[str, one_of("stop", "skip")] = "stop"
    nan_limit: Positive = 10
    spike_ratio: Weight = 10.0
    collapse_after: Count = 3
    out: str | None = None
    gallery: Count = 6
    allow_changed_data: bool = False
    reference_rows: str | None = "evaluate/results"


@dataclass
class MetricsConfig:
    """How maps are scored.

    Attributes:
        protocol: pysod (default), published, inspection.
        names: metrics to compute; empty computes all of the protocol. Only by name, under pysod: rates (ber, specificity, accuracy,
            kappa), context_measure, human_correction_effort, msiou.
        bootstrap: resamples for the 95 % intervals; 0 leaves them out.
        batch_size: images scored at once.
        latency: time up to 20 single images before scoring, for the row's cost; false counts parameters and multiply-adds alone.
    """

    protocol: Annotated[str, one_of(table("samis.metrics", "PROTOCOLS"))] = "pysod"
    names: list[str] = field(default_factory=list)
    bootstrap: Count = 1000
    batch_size: Positive = 8
    latency: bool = True


@dataclass
class CacheConfig:
    """Where embeddings of a frozen encoder are kept, so that each view is encoded once.

    Attributes:
        embeddings: auto (wherever the encoder is frozen and views come again), always (or stop and say why not), never.
        folder: null takes checkpoints/embeddings; processes and runs may share it.
        limit_gb: what the folder may hold; what was used least recently goes first.
    """

    embeddings: Annotated[str, one_of("auto", "always", "never")] = "auto"
    folder: str | None = None
    limit_gb: Annotated[float, Range(above=0)] = 20.0


@dataclass
class Experiment:
    """One whole experiment, in the order of the street.

    Attributes:
        experiment: its name; names the run folder and the rows.
        seed: of everything drawn at random.
        keep_best: metric on the validation split that chooses the best epoch: a number of the protocol, or, of its defect-free
            images, kept_clean or false_positive_area (by which alone a map that is always empty is the best).
    """

    experiment: str = "unnamed"
    seed: Count = 0
    data: DataConfig = field(default_factory=DataConfig)
    frame: FrameConfig = field(default_factory=FrameConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    keep_best: str = "s_measure"


@dataclass
class ScenesConfig:
    """The drawn scenes of promptable pretraining.

    Attributes:
        batches: micro-batches an epoch. validation_images: scenes of the fixed validation set.
        boxes, points, clicks: questions of each kind about a scene. jitter: of boxes, as a share of their size.
        grid_px: frame pixels a cell of the answer covers.
    """

    batches: Positive = 200
    validation_images: Positive = 64
    boxes: Positive = 3
    points: Positive = 2
    clicks: Positive = 1
    jitter: Weight = 0.06
    grid_px: Positive = 2


@dataclass
class Pretraining:
    """Promptable pretraining of a small SAM on drawn scenes.

    Attributes:
        experiment: names the run folder. seed: of weights and scenes.
        architecture: key in ARCHITECTURES. frame_px: side of the frame at this stage.
        pretrained: imagenet (the trunk starts from ImageNet weights, of the extra samis[imagenet]) or random.
        init: run folder or safetensors file of the stage before; null starts from random weights behind the trunk.
        keep_best: validation value that chooses the best epoch: iou (mean over the four groups of questions), iou_box ...
    """

    experiment: str = "pretrain"
    seed: Count = 0
    architecture: Architecture = "samis_lite"
    frame_px: Annotated[int, Range(low=16)] = 256
    pretrained: Annotated[str, one_of("imagenet", "random")] = "imagenet"
    init: str | None = None
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    keep_best: Annotated[str, one_of("iou", "iou_box", "iou_point", "iou_clicks", "iou_empty")] = "iou"


def load_config(path: str | Path, overrides: Sequence[str] = (), *, schema: type[T] = Experiment) -> T:  # type: ignore[assignment]
    """Read a YAML file into a config and apply dotted overrides; see ``samis.config_files.load_config``."""
    return config_files.load_config(path, overrides, schema=schema)
