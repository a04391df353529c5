"""Defect-free images in an epoch: as many as configured, from seed and epoch alone, the same on any number of processes."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samis.core.contracts import Sample
from samis.core.geometry import Framing
from samis.data.base import subset
from samis.data.own.coco import load_coco
from samis.data.own.folder import load_folder
from samis.data.own.labelme import load_labelme
from samis.data.pipeline.loading import EpochLoader, build_loader
from samis.errors import UserError

KINDS = ["crack", "clean", "dent", "crack", "clean", "dent", "clean", "crack", "dent", "clean", "dent", "clean", "dent"]
IDS = [f"{kind}_{number}" for number, kind in enumerate(KINDS)]


class Drawn:
    """Eight defective and five clean images of 8 x 8 pixels."""

    name, split = "drawn", "train"

    def __init__(self) -> None:
        self.class_names = KINDS
        self.ids = IDS

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        mask = np.zeros((8, 8), bool)
        mask[2:5, 2:5] = self.class_names[index] != "clean"
        return Sample(self.ids[index], np.full((8, 8, 3), index, np.uint8), mask, self.class_names[index])

    def fingerprint(self) -> str:
        return "0" * 64


def loader(share: float, **options: object) -> EpochLoader:
    settings: dict[str, object] = {"batch_size": 2, "shuffle": True, "training": True, "seed": 3} | options
    return build_loader(Drawn(), Framing(16), clean_share=share, **settings)  # type: ignore[arg-type]


def shown(batches: EpochLoader, epoch: int, skip: int = 0) -> list[str]:
    batches.set_epoch(epoch, skip=skip)
    return [key for batch in batches for key in batch.ids]


@pytest.mark.parametrize(("share", "clean"), [(0.2, 2), (0.3, 3), (0.5, 8), (0.9, 72)])
def test_an_epoch_has_its_share(share: float, clean: int) -> None:
    batches = loader(share)
    for epoch in range(3):
        counts = Counter(shown(batches, epoch))
        assert all(counts[key] == 1 for key in IDS if not key.startswith("clean"))
        each = [counts[key] for key in IDS if key.startswith("clean")]
        assert sum(each) == clean and max(each) - min(each) <= 1
    assert len(batches) == -(-(8 + clean) // 2)


def test_none_asked_for_shows_all_images_once_in_the_order_of_before() -> None:
    order = np.random.default_rng((3, 1, 13)).permutation(13).tolist()
    assert shown(loader(0.0), 1) == [IDS[index] for index in order]


def test_epochs_and_seeds_draw_others_and_repeat() -> None:
    def clean_of(epoch: int, seed: int = 3) -> frozenset[str]:
        return frozenset(key for key in shown(loader(0.2, seed=seed), epoch) if key.startswith("clean"))

    drawn = [clean_of(epoch) for epoch in range(12)]
    assert drawn == [clean_of(epoch) for epoch in range(12)] and len(set(drawn)) > 1
    assert drawn != [clean_of(epoch, seed=4) for epoch in range(12)]
    assert frozenset().union(*drawn) == {key for key in IDS if key.startswith("clean")}


def test_a_resumed_epoch_goes_on_and_processes_share_it() -> None:
    whole = shown(loader(0.3), 5)
    assert shown(loader(0.3), 5, skip=2) == whole[4:]
    parts = [shown(loader(0.3, rank=rank, world=3), 5) for rank in range(3)]
    dealt = [key for round_ in zip_longest(*parts) for key in round_ if key]
    assert dealt == whole  # each image once: eleven over three processes leave one of them an image short
    scored = loader(0.0, training=False, shuffle=False)
    assert shown(scored, 0) == IDS


def test_mistakes_have_a_code() -> None:
    for share in (-0.1, 0.95):
        with pytest.raises(UserError, match=f"{share} .*E-DATA-CLEAN-SHARE"):
            loader(share)
    data = Drawn()
    for kept, missing in (("crack", "defect-free"), ("clean", "defective")):
        part = subset(data, 0, besides=kept)
        with pytest.raises(UserError, match=f" {missing} images for data.clean_share=0.3.*E-DATA-CLEAN-SHARE"):
            build_loader(part, Framing(16), batch_size=2, training=True, clean_share=0.3)


def test_few_shot_draws_defective_images_beside_all_clean_ones() -> None:
    few = subset(Drawn(), 3, seed=1, besides="clean")
    assert Counter(kind == "clean" for kind in few.class_names) == {True: 5, False: 3}
    assert {"crack", "dent"} <= set(few.class_names)


def write_own(root: Path, layout: str) -> object:
    """Write six defective and six defect-free photos and load the training split."""
    grey = Image.fromarray(np.full((12, 12), 90, np.uint8))
    names = [(f"{kind}{number}", kind) for kind in ("dent", "clean") for number in range(6)]
    polygon = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0]
    if layout == "folder":
        for number, (name, kind) in enumerate(names):
            (root / "images" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((12, 12), 90 + number, np.uint8)).save(root / "images" / kind / f"{name}.png")
            if kind == "dent":
                (root / "masks/dent").mkdir(parents=True, exist_ok=True)
                mask = np.zeros((12, 12), np.uint8)
                mask[3:6, 3:6] = 255
                Image.fromarray(mask).save(root / "masks/dent" / f"{name}.png")
        return load_folder(root=root, split="all")
    import json

    if layout == "coco":
        (root / "images").mkdir()
        content: dict[str, list[dict[str, object]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "dent"}],
        }
        for number, (name, kind) in enumerate(names):
            grey.save(root / "images" / f"{name}.png")
            content["images"].append({"id": number, "file_name": f"{name}.png", "height": 12, "width": 12})
            if kind == "dent":
                entry = {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon], "area": 18}
                content["annotations"].append(entry)
        (root / "annotations.json").write_text(json.dumps(content))
        return load_coco(root=root, split="all", unlabelled="clean")
    for name, kind in names:
        grey.save(root / f"{name}.png")
        points = list(zip(polygon[::2], polygon[1::2], strict=True))
        shapes = [{"label": "dent", "points": points, "shape_type": "polygon"}] if kind == "dent" else []
        (root / f"{name}.json").write_text(json.dumps({"imageHeight": 12, "imageWidth": 12, "shapes": shapes}))
    return load_labelme(root=root, split="all")


@pytest.mark.parametrize("layout", ["folder", "coco", "labelme"])
def test_your_own_clean_photos_take_part(layout: str, tmp_path: Path) -> None:
    data = write_own(tmp_path, layout)
    batches = build_loader(data, Framing(16), batch_size=3, shuffle=True, training=True, clean_share=0.5)  # type: ignore[arg-type]
    empty = 0
    for batch in batches:
        assert batch.masks is not None
        empty += int((batch.masks.flatten(1).sum(1) == 0).sum())
        assert torch.equal(batch.masks.flatten(1).any(1), torch.tensor([kind != "clean" for kind in batch.class_names]))
    assert empty == 6
