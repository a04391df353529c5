"""SD-saliency-900: strip steel, 900 grey 200x200 images of inclusions, patches and scratches, with masks.

Folder tree, as the public download has it (the mask has the image's stem)::

    SD-saliency-900/
      Source Images/{In,Pa,Sc}_<n>.bmp      (or .png)
      Ground truth/{In,Pa,Sc}_<n>.png       0/255

Paper: Song et al., Saliency detection for strip steel surface defects using multiple constraints and improved texture
features, Optics and Lasers in Engineering 2020 (doi 10.1016/j.optlaseng.2019.106000).
Source: https://github.com/SongGuorong/MCITF. Licence: for research, not to be passed on.
Splits: ``test`` is the field's 360 and ``trainval`` its 540; ``train``/``val`` (480/60) divide the 540, 20 of each
class in ``val``; ``all`` is the 900 that some tables score. Pa_101 = Pa_105 byte for byte, both in ``train``. How the
lists were made: ``splits/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from samis.data.base import Record, RecordDataset, check_split, find_root, read_split, select
from samis.data.pairing import pair_folders

NAME = "sd_saliency_900"
FOLDER = "SD-saliency-900"
SPLITS = ("train", "val", "test", "trainval", "all")
CLASSES = {"In": "inclusion", "Pa": "patch", "Sc": "scratch"}
HOW_TO_GET = (
    "get it from https://github.com/SongGuorong/MCITF and unpack it to 'SD-saliency-900/Source Images' and "
    "'SD-saliency-900/Ground truth'"
)


def load_sd_saliency_900(*, root: Path | str | None = None, split: str = "test") -> RecordDataset:
    """Load one split of SD-saliency-900.

    Args:
        root: the folder that holds ``Source Images`` and ``Ground truth``; None searches the usual places.
        split: one of ``SPLITS``.

    Raises:
        UserError: if the folder, a file or the split is missing.
    """
    check_split(split, SPLITS, name=NAME)
    folder = find_root(root, FOLDER, HOW_TO_GET)
    pairs = pair_folders(folder / "Source Images", folder / "Ground truth").require()
    names = list(pairs) if split == "all" else read_split(NAME, split)
    chosen = select(pairs, names, root=folder)
    records = [Record(stem, p.image_path, p.mask_path, CLASSES.get(stem[:2], "defect")) for stem, p in chosen.items()]
    return RecordDataset(NAME, split, records)
