"""GPU memory: settings for the memory that is free, and an error that names the setting to change.

  python -m samis.training.memory                    settings for this machine's GPU
  python -m samis.training.memory --free-gb 16       for another one

The presets are ordered by the free memory that they need, which is above the peak that was measured of each
(train/README.md, "Memory").
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from samis.config import Experiment, TrainingConfig
from samis.errors import Parser, UserError
from samis.training.precision import has_bf16


@dataclass(frozen=True)
class Preset:
    """Settings that fit into some memory.

    Attributes:
        free_gb: free memory of one GPU that they need, GB.
        peak_gb: the highest peak measured of a bf16 step on an H200, GB. An upper bound: it holds 0.7 GB for CUDA itself,
            and what other work of the same process had left in torch's cache (up to about 4.4 GB).
        overrides: as on a command line.
        about: what they do, in words.
    """

    free_gb: float
    peak_gb: float
    overrides: tuple[str, ...]
    about: str


_LORA = ("adapter.encoder=[q,v]", "adapter.decoder=[full]")
_DECODER = ("adapter.encoder=[]", "adapter.decoder=[attention,mlp]", "data.augment=light")
PRESETS: tuple[Preset, ...] = (
    Preset(
        16, 6.5, ("segmenter.architecture=vit_h", *_LORA, "training.batch_size=2", "training.accumulation=4",
                  "segmenter.checkpoint_activations=true"),
        "vit_h at 1024, LoRA on encoder and decoder, activations computed again",
    ),
    Preset(
        12, 11.2, ("segmenter.architecture=vit_b", *_LORA, "training.batch_size=4", "training.accumulation=2"),
        "vit_b at 1024, LoRA on encoder and decoder",
    ),
    Preset(
        8, 5.6, ("segmenter.architecture=vit_b", *_LORA, "training.batch_size=2", "training.accumulation=4",
                 "segmenter.checkpoint_activations=true"),
        "the same, activations computed again: more time, less memory",
    ),
    Preset(
        7, 5.1, ("segmenter.architecture=vit_b", *_LORA, "frame.frame_px=512", "training.batch_size=2",
                 "training.accumulation=4", "segmenter.checkpoint_activations=true"),
        "vit_b at 512: a quarter of the tokens",
    ),
    Preset(
        6, 5.7, ("segmenter.architecture=vit_b", *_DECODER, "training.batch_size=2", "training.accumulation=4"),
        "vit_b at 1024, decoder alone, embeddings kept on disk",
    ),
    Preset(0, 5.4, ("segmenter.architecture=samis_lite", "training.batch_size=4"), "the embedded SAM; also on a CPU"),
)  # fmt: skip
"""Settings from the most memory needed to the least. vit_h is listed above vit_b although its peak is lower, since its
activations are computed again: with 12 GB vit_b trains without that, with more memory the larger network trains."""


def preset(free_gb: float) -> Preset:
    """Return the settings for `free_gb` of free memory.

    >>> preset(24).overrides[0]
    'segmenter.architecture=vit_h'
    """
    return next(step for step in PRESETS if step.free_gb <= max(0.0, free_gb))


def free_gb() -> float:
    """Return the free memory of the first GPU in GB; 0 without one."""
    return torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else 0.0


def advice(training: TrainingConfig, config: Experiment | None = None, *, precision: str = "") -> list[str]:
    """Return the settings that can still reduce memory, the cheapest first.

    Args:
        training: section of the run's config.
        config: the run's whole config.
        precision: that it computes in; the config's where it is not given.

    >>> advice(TrainingConfig(batch_size=8))[0]
    'training.batch_size=4 training.accumulation=2'
    """
    settings = []
    if training.batch_size > 1:
        settings.append(
            f"training.batch_size={training.batch_size // 2} training.accumulation={2 * training.accumulation}"
        )
    if (precision or training.mixed_precision) == "no" and torch.cuda.is_available():
        settings.append(f"training.mixed_precision={'bf16' if has_bf16() else 'fp16'}")
    if isinstance(config, Experiment) and config.segmenter.name == "sam":
        if config.adapter.encoder and not config.segmenter.checkpoint_activations:
            settings.append("segmenter.checkpoint_activations=true")
        if config.adapter.encoder:
            settings.append("adapter.encoder=[]")
        if config.frame.frame_px == 0 or config.frame.frame_px > 512:
            settings.append("frame.frame_px=512")
    return settings or ["a smaller segmenter.architecture, or a larger GPU"]


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a GPU's memory, or the machine's, was not enough."""
    message = str(error).lower()
    known = ("CUDA out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words.lower() in message for words in known)


@contextmanager
def explain_out_of_memory(
    training: TrainingConfig, config: Experiment | None = None, *, precision: str = ""
) -> Iterator[None]:
    """Turn an out-of-memory error into one line that names what to set.

    Args:
        training: section of the run's config.
        config: the run's whole config.
        precision: that the run computes in.

    Raises:
        UserError: instead of torch's own error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        memory = ""
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            memory = f" ({free / 1e9:.1f} of {total / 1e9:.1f} GB are free)"
        first, *rest = advice(training, config, precision=precision)
        then = f", then {', then '.join(rest)}" if rest else ""
        raise UserError(
            f"training: expected one batch to fit, but the memory is full{memory}; set {first}{then}",
            code="E-TRAIN-MEMORY",
        ) from error


def main() -> None:
    """Print the presets, and mark the one for the free memory."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--free-gb", type=float, help="free memory in GB (default: that of the first GPU)")
    stated = parser.parse_args().free_gb
    free = free_gb() if stated is None else stated
    chosen = preset(free)
    for step in PRESETS:
        mark = ">" if step is chosen else " "
        print(f"{mark} from {step.free_gb:3.0f} GB: {step.about} (peak at most {step.peak_gb:g} GB)")
    print(f"\nfor {free:.1f} GB free: samis train CONFIG " + " ".join(f"'{o}'" for o in chosen.overrides))


if __name__ == "__main__":
    main()
