"""Every key of a config in the order of the pipeline: its type, range or choices, default, and what it means.

A field is ``name: type = default`` with its meaning in the docstring below it, which ``--help`` and the editors' schema show; the
types, with their ranges and choices, are those of ``samis.config.fields``. This package imports no heavy library,
so that ``--help`` and a mistake answer at once; every other package may import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from samis.config.fields import (
    NUMBER,
    Count,
    Flag,
    FolderName,
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
from samis.config.training import CacheConfig, LossConfig, MetricsConfig, OptimConfig, TrainingConfig


def _family_sizes() -> list[str]:
    """Return the sizes of all families of SAM but segment_anything's own, from their files."""
    families = [name for name in table("samis.sam.families", "FAMILIES")() if name != "sam"]
    return [size for family in families for size in table(f"samis.sam.families.{family}", "SIZES")()]


Architecture = Annotated[
    Text,
    OneOf(
        table("samis.sam.architectures", "ARCHITECTURES"),
        _family_sizes,
        later=table("samis.sam.architectures", "REMOVED"),
    ),
]
SEGMENTERS = OneOf(
    "sam", "saved_maps", "run", table("samis.baselines", "BASELINES"), table("samis.baselines.references", "REFERENCES")
)
ENCODER = OneOf(table("samis.core.targets", "ENCODER"), table("samis.core.targets", "ENCODER_WHOLE"))
DECODER = OneOf(table("samis.core.targets", "DECODER"), "full")
Method = Annotated[
    Text, OneOf(table("samis.adapters.methods", "METHODS"), later=table("samis.adapters.methods", "REFUSED"))
]


@dataclass
class DataConfig(Section):
    """Which images."""

    name: Annotated[Text, OneOf(table("samis.data", "DATASETS"))] = "sd_saliency_900"
    """Data set."""
    label: Text | None = None
    """What rows, tables, file names and cards call the data set; null takes its name, and of your own data (folder,
    coco, labelme) the folder's name too."""
    root: Text | None = None
    """Folder of the download; null looks in $SAMIS_DATA and ../shared/data."""
    train: Text = "train"
    """Split to learn from."""
    val: Text = "val"
    """Split that chooses the best epoch."""
    test: Text = "test"
    """Split that is only ever scored."""
    augment: Annotated[Text, OneOf(table("samis.data.pipeline.augment", "PRESETS"))] = "default"
    """Augmentation of the training images."""
    limit: Count = 0
    """Use only this many training images, drawn by seed (few-shot); 0 uses all; with clean_share: so many defective
    ones."""
    clean_share: Annotated[float, Field(strict=True, ge=0, le=0.9), NUMBER] = 0.0
    """Share of an epoch's images drawn from the defect-free ones (class "clean"), each defective image coming once; 0
    leaves a split as it is."""
    calibration_share: Annotated[float, Field(strict=True, ge=0, le=0.9), NUMBER] = 0.0
    """Share of the validation images, class by class, that is set aside to calibrate promises such as samis predict
    --miss-at-most 0.1: they choose neither epoch nor threshold; 0 sets none aside."""
    salt_pepper: ShareBelowOne = 0.0
    """Share of pixels replaced by noise when scoring."""
    check: Flag = True
    """Check the splits before training (pairs, sizes, some masks, one photo in two splits); errors stop it."""
    options: Annotated[dict[str, Any], Field(strict=True)] = field(default_factory=dict)
    """Further arguments of the data set, e.g. {csv: pairs.csv}; {split: by_tile} chooses magnetic_tile's second
    division."""


@dataclass
class FrameConfig(Section):
    """How images enter SAM's square frame."""

    frame_px: Count = 0
    """Side of the frame; 0 takes the architecture's own (1024 for the official ones, 1008 for sam3_tracker, 256 for
    samis_lite); that of sam_hq, sam2 and sam3_tracker is fixed."""
    tile_px: Count = 0
    """Cut images longer than this into overlapping tiles of this side, file pixels; 0 never cuts."""
    overlap: ShareBelowOne = 0.25
    """Share of a tile that its neighbour repeats."""


@dataclass
class PromptConfig(Section):
    """The prompt that SAM gets."""

    kind: Annotated[Text, OneOf(table("samis.prompts", "PROMPTERS"))] = "empty"
    """Kind of prompt; empty, grid and whole need no ground truth; box and point are oracles, made from it."""
    points_per_side: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    """Points on a side of the grid."""
    per: Annotated[Text, OneOf(table("samis.prompts.box", "PER"))] = "component"
    """What gets an oracle prompt of its own: component, each connected defect; image, all defects of an image
    together."""
    jitter: Weight = 0.0
    """Standard deviation of an oracle box's sides, as a share of its size."""
    mix: Annotated[dict[str, Any], Field(strict=True)] = field(default_factory=dict)
    """Weights of the prompts that an image gets in training, e.g. {empty: 0.7, box: 0.2, point: 0.1}, so that the tuned
    SAM follows boxes and points too; {} trains with prompt.kind alone. A run is then scored with each of them."""


@dataclass
class SegmenterConfig(Section):
    """The network that predicts."""

    name: Annotated[Text, SEGMENTERS] = "sam"
    """What predicts; run is a tuned SAM or trained baseline from its run folder; filled_box and otsu_box are trivial references."""
    architecture: Architecture = "samis_lite"
    """Family and size of SAM; sam_hq and sam2 stand for any size of theirs, which the folder of weights says."""
    weights: Text | None = None
    """Checkpoint file, folder in transformers' format, or a name on the Hugging Face hub; null takes the embedded one of
    samis_lite, or checkpoints/ for the official sizes; "random" starts from scratch; for a baseline: a local file of its
    backbone's weights, timm's or torchvision's."""
    mask_rule: Annotated[Text, OneOf(table("samis.sam.merge", "MASK_RULES"), "single", "all")] = "top_iou"
    """How many masks become one map; all scores every rule from one pass."""
    min_iou: Share = 0.88
    """Predicted IoU that a mask of the grid must exceed."""
    min_stability: Share = 0.95
    """Stability that a mask of the grid must reach."""
    maps: Text | None = None
    """Folder of 8-bit maps, for saved_maps; several with commas between: parts of one set, or methods whose mean is
    scored."""
    run: Text | None = None
    """Run folder, for run."""
    checkpoint_activations: Flag = False
    """Compute the encoder's blocks again in the backward pass: less memory, a third more time."""
    compile: Flag = False
    """Let torch.compile speed the encoder up; where it cannot, the run says so and goes on without."""
    tta: Annotated[Text, OneOf(table("samis.tta", "KINDS"))] = "none"
    """Test-time augmentation when scoring and predicting: flips is the mean of the maps of an image mirrored left
    to right, top to bottom, both and not at all, in four times the time."""
    backbone: Text | None = None
    """Feature extractor of timm, for a baseline; null takes its paper's."""
    pretrained: Flag = False
    """Start the backbone from ImageNet weights: tf_efficientnet_lite0 and lite2 from a package (samis[imagenet]),
    others by timm's download (needs a network or a filled cache)."""


@dataclass
class AdapterConfig(Section):
    """What is tuned."""

    name: Annotated[Text, OneOf(table("samis.adapters", "ADAPTERS"))] = "lora"
    """Kind of adapter."""
    encoder: Annotated[list[Annotated[Text, ENCODER]], Field(strict=True)] = field(default_factory=list)
    """Modules of the image encoder that it reaches (stem and neck: lora only, trained whole); [] leaves the encoder as
    it is."""
    decoder: Annotated[list[Annotated[Text, DECODER]], Field(strict=True)] = field(
        default_factory=lambda: ["attention", "mlp"]
    )
    """Modules of the mask decoder; [] leaves it as it is, [full] trains it whole."""
    rank: Annotated[int, Field(strict=True, ge=1, le=4096)] = 8
    """Rank of LoRA, and of the methods of peft that have one."""
    alpha: PositiveNumber = 16.0
    """LoRA's numerator: the update is scaled by alpha / rank; also of the methods of peft that have one."""
    dropout: ShareBelowOne = 0.0
    """Dropout on the input of LoRA, and of the methods of peft that have one."""
    dora: Flag = False
    """Weight-decomposed LoRA."""
    rslora: Flag = False
    """Scale the update by alpha / sqrt(rank)."""
    width: Annotated[int, Field(strict=True, ge=1, le=4096)] = 32
    """Inner width of a bottleneck adapter."""
    preset: Annotated[Text, OneOf(table("samis.adapters.unfreeze", "PRESETS"))] = "decoder"
    """What unfreeze trains."""
    method: Method = "lora"
    """Method of peft, for adapter.name=peft."""
    all_masks: Flag = False
    """Train masks 1 to 3, their tokens and the IoU head too, with losses of their own, so that automatic mask generation works
    after tuning; needs the decoder trained whole (decoder: [full], or unfreeze), and prompt.mix with points."""
    options: Annotated[dict[str, Any], Field(strict=True)] = field(default_factory=dict)
    """Further options of peft's configuration of the method, e.g. {decompose_both: true} of lokr."""


@dataclass
class Experiment(Section):
    """One whole experiment, in the order of the pipeline."""

    experiment: FolderName = "unnamed"
    """Name of the experiment, the run folder and the rows."""
    seed: Count = 0
    """Seed of everything drawn at random."""
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
    keep_best: Text = "s_measure"
    """Metric on the validation split that chooses the best epoch: a number of the protocol, or, of its defect-free
    images, kept_clean or false_positive_area (by which alone a map that is always empty is the best)."""


@dataclass
class ScenesConfig(Section):
    """The drawn scenes of promptable pretraining."""

    batches: Positive = 200
    """Micro-batches an epoch."""
    validation_images: Positive = 64
    """Scenes of the fixed validation set."""
    boxes: Positive = 3
    """Box prompts for each scene."""
    points: Positive = 2
    """Point prompts for each scene."""
    clicks: Positive = 1
    """Prompts of several points for each scene."""
    jitter: Weight = 0.06
    """Standard deviation of a box's sides, as a share of its size."""
    grid_px: Positive = 2
    """Frame pixels that a cell of the predicted mask covers."""


@dataclass
class Pretraining(Section):
    """Promptable pretraining of a small SAM on drawn scenes."""

    experiment: FolderName = "pretrain"
    """Names the run folder."""
    seed: Count = 0
    """Seed of weights and scenes."""
    architecture: Architecture = "samis_lite"
    """Size of SAM."""
    frame_px: Annotated[int, Field(strict=True, ge=16, le=4096)] = 256
    """Side of the frame at this stage."""
    pretrained: Annotated[Text, OneOf("imagenet", "random")] = "imagenet"
    """Weights that the trunk starts from; imagenet needs the extra samis[imagenet]."""
    init: Text | None = None
    """Run folder or safetensors file of the stage before; null starts from random weights behind the trunk."""
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    keep_best: Annotated[Text, OneOf("iou", "iou_box", "iou_point", "iou_clicks", "iou_empty")] = "iou"
    """Validation value that chooses the best epoch; iou is the mean over the four kinds of prompt."""
