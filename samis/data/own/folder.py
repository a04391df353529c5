"""Your own data: two folders, split folders, or a CSV of pairs.

Layouts (a mask has its image's stem; endings may differ)::

    ROOT/images/a.jpg  ROOT/masks/a.png                     splits are drawn: by a hash of the id, class by class
    ROOT/images/crack/a.jpg  ROOT/masks/crack/a.png         the same, subfolders name the classes
    ROOT/{train,val,test}/{images,masks}/...                splits are the folders (a missing val is drawn from train)
    PAIRS.csv: image,mask[,class][,split]                   paths relative to the CSV's folder (root=PAIRS.csv)

An image of class ``clean`` needs no mask. Images of equal content stay in one split where splits are drawn. The splits are
``train``, ``val``, ``test``, ``trainval`` and ``all``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samis.core.files import file_sha256
from samis.data.base import CLEAN, Record, RecordDataset, check_split, find_root
from samis.data.own.pairs_csv import read_pairs
from samis.data.pairing import GIVEN_SPLITS, DataFiles, list_pictures, pair_folders
from samis.data.splitting import carve, shares
from samis.errors import UserError, did_you_mean

HOW_TO_GET = (
    "expected are ROOT/images and ROOT/masks, ROOT/{train,val,test}/{images,masks}, or a CSV with columns image,mask"
)


def load_folder(
    *,
    root: Path | str | None = None,
    split: str = "test",
    images: str = "images",
    masks: str = "masks",
    csv: str = "",
    grey_masks: bool = False,
    unlabelled_ok: bool = False,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> RecordDataset:
    """Load one split of the user's own data.

    Args:
        root: the folder, or a CSV file.
        split: ``train``, ``val``, ``test``, ``trainval`` or ``all``.
        images: name of the folder of images.
        masks: name of the folder of masks.
        csv: a CSV of pairs, relative to `root`.
        grey_masks: whether masks hold grey (JPEG, soft edges) to be cut at 127.
        unlabelled_ok: whether images may lack masks (their truth is then unknown).
        val_share: share of each class to draw for ``val``, of what is not ``test``.
        test_share: share of each class to draw for ``test``.
        seed: another seed draws other splits.

    Raises:
        UserError: if the layout, a file, a partner or the split is missing.
    """
    check_split(split, ("train", "val", "test", "trainval", "all"), name="folder")
    for key, share in (("val_share", val_share), ("test_share", test_share)):
        if not 0 <= share < 1:
            raise UserError(f"data set folder: expected {key} in [0, 1), got {share}", code="E-DATA-OPTION")
    if root is None:
        raise UserError(
            f"data set folder: expected root=FOLDER or root=PAIRS.csv, got nothing; {HOW_TO_GET}", code="E-DATA-ROOT"
        )
    table = Path(root, csv) if csv else Path(root)
    if csv or table.suffix.lower() == ".csv":
        files = read_pairs(table, unlabelled_ok=unlabelled_ok)
    else:
        files = _scan(find_root(root, "your data", HOW_TO_GET), images, masks, unlabelled_ok)
    pairs = files.pairs.require()
    records = [Record(key, p.image_path, p.mask_path, files.classes[key]) for key, p in pairs.items()]
    if split != "all":
        part = divide(records, files.splits, val_share=val_share, test_share=test_share, seed=seed)
        parts = ("train", "val") if split == "trainval" else (split,)
        records = [record for record in records if part[record.id] in parts]
    return RecordDataset("folder", split, records, grey_masks=grey_masks)


def divide(
    records: list[Record], given: Mapping[str, str], *, val_share: float, test_share: float, seed: int
) -> dict[str, str]:
    """Return the split of each id: the given ones, or drawn by hash; a missing ``val`` is drawn from ``train``.

    Args:
        records: the images.
        given: id -> split, where the user gives splits.
        val_share: share of each class for ``val``, of what is not ``test``.
        test_share: share of each class for ``test``.
        seed: another seed draws other splits.
    """
    part = dict(given) if given else dict.fromkeys((record.id for record in records), "train")
    shares_of = {"test": 0.0 if given else test_share, "val": 0.0 if "val" in given.values() else val_share}
    if not any(shares_of.values()):
        return part
    content = {record.id: file_sha256(record.image_path) for record in records}
    for name, share in shares_of.items():
        rest = [record for record in records if part[record.id] == "train"]
        ids, kinds = [record.id for record in rest], [record.class_name for record in rest]
        first_of: dict[str, int] = {}
        groups = [first_of.setdefault(content[key], number) for number, key in enumerate(ids)]
        for key in carve(ids, kinds, shares(kinds, share), groups=groups, seed=seed):
            part[key] = name
    return part


def _scan(root: Path, images: str, masks: str, unlabelled_ok: bool) -> DataFiles:
    files = DataFiles()
    folders = [name for name in GIVEN_SPLITS if (root / name / images).is_dir()]
    if not folders:
        if not (root / images).is_dir():
            raise UserError(f"{root}: expected a folder '{images}' in it, got none; {HOW_TO_GET}", code="E-DATA-LAYOUT")
        _scan_tree(files, root / images, root / masks, unlabelled_ok)
    for path in sorted(root.iterdir()) if folders else ():
        if path.name not in folders and (path / images).is_dir():
            raise UserError(
                f"{path}: expected split folders out of {', '.join(GIVEN_SPLITS)}, got this one"
                f"{did_you_mean(path.name, GIVEN_SPLITS)}; rename it or move it away",
                code="E-DATA-LAYOUT",
            )
    for name in folders:
        before = set(files.pairs.by_stem)
        _scan_tree(files, root / name / images, root / name / masks, unlabelled_ok)
        files.splits.update(dict.fromkeys((key for key in files.pairs.by_stem if key not in before), name))
    return files


def _scan_tree(files: DataFiles, images: Path, masks: Path, unlabelled_ok: bool) -> None:
    """Add the pairs of one image and one mask folder, or of the class folders in them."""
    kinds = sorted(path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    flat = any(path.is_file() and not path.name.startswith(".") for path in images.iterdir())
    if flat and kinds:
        raise UserError(
            f"{images}: expected either images or class folders, got both ('{kinds[0]}'); move one away",
            code="E-DATA-LAYOUT",
        )
    if not kinds:
        pairs = pair_folders(images, masks, masks_optional=unlabelled_ok)
        files.classes.update(dict.fromkeys(pairs.by_stem, "defect"))
        files.pairs.add(pairs)
        return
    for kind in kinds:
        pairs = pair_folders(images / kind, masks / kind, masks_optional=unlabelled_ok or kind == CLEAN)
        pairs.by_stem = {f"{kind}__{stem}": pair for stem, pair in pairs.by_stem.items()}
        files.classes.update(dict.fromkeys(pairs.by_stem, kind))
        files.pairs.add(pairs)
    for path in masks.iterdir() if masks.is_dir() else ():
        if path.is_dir() and path.name not in kinds:
            first = list_pictures(path, what="masks")[0]
            raise UserError(
                f"{first}: expected a folder {images / path.name} for these masks, got none; add or remove it",
                code="E-DATA-LAYOUT",
            )
