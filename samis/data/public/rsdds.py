"""RSDDs Type-I: 67 grey images of express rails, 160 px wide and 1000 to 1282 high, with small defects.

Folder tree, as the public download has it (the mask has the image's name)::

    RSDDs/Type-I RSDDs dataset/
      Rail surface images/rail_<n>.jpg
      GroundTruth/rail_<n>.jpg              JPEG of a 0/255 mask, cut at 127

Paper: Gan et al., A hierarchical extractor-based visual rail surface inspection system, IEEE Sensors Journal 2017
(doi 10.1109/JSEN.2017.2761858).
Source: http://icn.bjtu.edu.cn/Visint/resources/RSDDs.aspx. Licence: for research, not to be passed on.
Splits: ours (the field has none), 40 ``train``, 7 ``val``, 20 ``test``; rail_38 = rail_60 and rail_48 = rail_61 byte
for byte, and each pair stays on one side. How they were made: ``splits/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from samis.data.base import Record, RecordDataset, check_split, find_root, read_split, select
from samis.data.pairing import pair_folders

NAME = "rsdds"
FOLDER = "RSDDs"
SPLITS = ("train", "val", "test", "trainval", "all")
CLASS_NAME = "rail defect"
HOW_TO_GET = (
    "get 'RSDDs' from http://icn.bjtu.edu.cn/Visint/resources/RSDDs.aspx and keep its layout, "
    "'RSDDs/Type-I RSDDs dataset/Rail surface images' and '.../GroundTruth'"
)


def load_rsdds(*, root: Path | str | None = None, split: str = "test") -> RecordDataset:
    """Load one split of RSDDs Type-I.

    Args:
        root: the folder that holds ``Type-I RSDDs dataset``; None searches the usual places.
        split: one of ``SPLITS``.

    Raises:
        UserError: if the folder, a file or the split is missing.
    """
    check_split(split, SPLITS, name=NAME)
    folder = find_root(root, FOLDER, HOW_TO_GET)
    inner = folder / "Type-I RSDDs dataset"
    pairs = pair_folders(inner / "Rail surface images", inner / "GroundTruth").require()
    names = list(pairs) if split == "all" else read_split(NAME, split)
    chosen = select(pairs, names, root=inner)
    records = [Record(stem, p.image_path, p.mask_path, CLASS_NAME) for stem, p in chosen.items()]
    return RecordDataset(NAME, split, records, grey_masks=True)
