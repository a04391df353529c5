"""The SAM segmenter as a Segmenter: sizes, prompts, tiles, batches, rules from one pass, what it says of itself."""

import numpy as np
import pytest
import torch

from samis.config import PromptConfig
from samis.core.contracts import Batch, Prompt, Sample, Segmenter
from samis.core.geometry import Framing, frame_image, frame_mask
from samis.data.pipeline.loading import FramedSample, collate
from samis.errors import UserError
from samis.prompts import PROMPTERS, build_prompter
from samis.sam.architectures import build_sam
from samis.sam.candidates import MaskGeneration
from samis.sam.forward import embed
from samis.sam.merge import MASK_RULES
from samis.sam.segmenter import SamSegmenter

LOOSE = MaskGeneration(min_iou=-100.0, min_stability=0.0)
KINDS = pytest.mark.parametrize("kind", PROMPTERS)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sam = build_sam("samis_lite", frame_px=64)
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data *= 100  # so that logits spread, as those of a trained network do
    return sam


def sample(hw=(48, 64), *, defect=True, seed=0) -> Sample:
    image = np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)
    mask = np.zeros(hw, dtype=bool)
    mask[5:15, 8:20] = defect
    mask[30:36, 20:24] = defect
    return Sample(f"s{seed}", image, mask)


def batch_of(*samples: Sample, kind: str, tile_px: int = 0) -> Batch:
    framing, prompter = Framing(64, tile_px=tile_px), build_prompter(PromptConfig(kind=kind, points_per_side=4))
    framed = []
    for each in samples:
        placements = framing.placements(each.image.shape[:2])
        images = torch.stack([frame_image(each.image, p) for p in placements])
        masks = torch.stack([frame_mask(each.mask, p) for p in placements])
        prompt = prompter(each, placements, np.random.default_rng(0))
        framed.append(FramedSample(each.id, "defect", images, placements, prompt, masks, each.mask))
    return collate(framed)


def segmenter(sam, kind: str, **options) -> SamSegmenter:
    return SamSegmenter(sam, prompt=PromptConfig(kind=kind), mask_generation=LOOSE, **options)


@KINDS
class TestEveryPrompt:
    def test_one_map_per_image_at_its_own_size(self, sam, kind):
        subject = segmenter(sam, kind)
        maps = subject.predict(batch_of(sample((48, 64)), sample((37, 51), seed=1), kind=kind))
        assert isinstance(subject, Segmenter)
        assert [tuple(m.shape) for m in maps] == [(48, 64), (37, 51)]
        assert all(m.dtype == torch.float32 and m.min() >= 0 and m.max() <= 1 for m in maps)
        maps[0].clamp_(0, 0.5)  # an ordinary tensor, not one of inference mode

    def test_the_batch_an_image_is_in_does_not_change_its_map(self, sam, kind):
        samples = [sample((48, 64)), sample((64, 30), seed=1), sample((48, 64), defect=False, seed=2)]
        together = segmenter(sam, kind).predict(batch_of(*samples, kind=kind))
        alone = [segmenter(sam, kind).predict(batch_of(each, kind=kind))[0] for each in samples]
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=0)

    def test_chunks_of_prompts_do_not_change_a_map(self, sam, kind):
        batch = batch_of(sample(), sample(seed=1), kind=kind)
        whole, chunked = (segmenter(sam, kind, prompt_chunk=n).predict(batch) for n in (1000, 3))
        for one, other in zip(whole, chunked, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=0)

    def test_all_rules_come_from_one_pass_and_equal_each_alone(self, sam, kind):
        batch = batch_of(sample(), kind=kind)
        passes = []
        counting = segmenter(sam, kind, embed=lambda *given: passes.append(1) or embed(*given))
        every = counting.predict_all_rules(batch)
        assert len(passes) == 1
        assert list(every) == segmenter(sam, kind).rules()
        for rule in every:
            alone = segmenter(sam, kind, mask_rule=rule).predict(batch)[0]
            assert torch.equal(every[rule][0], alone)

    def test_tiles_come_back_as_one_map(self, sam, kind):
        maps = segmenter(sam, kind).predict(batch_of(sample((40, 150)), kind=kind, tile_px=64))
        assert [tuple(m.shape) for m in maps] == [(40, 150)]
        assert maps[0].isfinite().all() and maps[0].max() <= 1

    def test_weights_and_training_mode_stay(self, sam, kind):
        sam.train()
        sam.image_encoder.eval()
        before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
        segmenter(sam, kind).predict(batch_of(sample(), kind=kind))
        assert sam.training and sam.mask_decoder.training and not sam.image_encoder.training
        assert all(torch.equal(before[name], tensor) for name, tensor in sam.state_dict().items())
        sam.eval()


class TestNothing:
    @pytest.mark.parametrize("kind", ["box", "point"])
    def test_an_oracle_without_a_defect_gives_an_empty_map(self, sam, kind):
        maps = segmenter(sam, kind).predict(batch_of(sample(defect=False), sample(seed=1), kind=kind))
        assert (maps[0] == 0).all()
        assert (maps[1] > 0).any()

    def test_a_grid_without_a_sure_mask_gives_an_empty_map(self, sam):
        subject = SamSegmenter(sam, prompt=PromptConfig(kind="grid"), mask_generation=MaskGeneration(min_iou=1e9))
        for maps in subject.predict_all_rules(batch_of(sample(), kind="grid")).values():
            assert (maps[0] == 0).all()

    def test_an_empty_tile_does_not_drown_its_neighbour(self, sam):
        mask = np.zeros((40, 100), dtype=bool)
        mask[10:20, 10:20] = True
        image = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
        predicted = segmenter(sam, "box").predict(batch_of(Sample("s", image, mask), kind="box", tile_px=60))[0]
        assert (predicted[:, 65:] == 0).all()
        assert predicted[:, :35].max() > 0.1


class TestMaskChoice:
    def test_the_empty_prompt_takes_mask_0_whatever_the_rule(self, sam):
        batch = batch_of(sample(), kind="empty")
        assert torch.equal(segmenter(sam, "empty", mask_rule="largest").predict(batch)[0],
                           segmenter(sam, "empty").predict(batch)[0])  # fmt: skip

    def test_several_points_take_mask_0_and_one_point_an_alternative(self, sam):
        batch = batch_of(sample(), kind="point")
        points = torch.tensor([[[[10.0, 10.0], [30.0, 30.0]], [[10.0, 10.0], [0.0, 0.0]]]])
        maps = {}
        for name, labels in (("two", [[[1, 0], [1, -1]]]), ("one", [[[1, -1], [1, -1]]])):
            batch.prompt = Prompt("point", points_xy=points, point_labels=torch.tensor(labels), sees_truth=True)
            batch.prompt.present = torch.tensor([[True, False]])
            maps[name] = [segmenter(sam, "point", mask_rule=rule).predict(batch)[0] for rule in ("single", "top_iou")]
        assert torch.equal(*maps["two"])
        assert not torch.equal(*maps["one"])

    def test_several_boxes_are_united(self, sam):
        batch = batch_of(sample(), kind="box")
        assert batch.prompt.prompts_per_view == 2
        both = segmenter(sam, "box").predict(batch)[0]
        each = []
        for row in ([True, False], [False, True]):
            batch.prompt.present = torch.tensor([row])
            each.append(segmenter(sam, "box").predict(batch)[0])
        assert (both + 1e-4 >= torch.maximum(*each)).all()  # enlarged after the union, so never less

    def test_a_grid_has_no_single_answer(self, sam):
        with pytest.raises(UserError, match="E-SAM-RULE-FOR-GRID"):
            segmenter(sam, "grid", mask_rule="single")

    def test_an_unknown_rule_is_refused_at_once(self, sam):
        with pytest.raises(UserError, match=r"got 'contrsat'; did you mean contrast\?.*E-SAM-MASK-RULE"):
            segmenter(sam, "grid", mask_rule="contrsat")


class TestOracles:
    def test_oracle_best_needs_truth(self, sam):
        batch = batch_of(sample(), kind="grid")
        batch.masks = None
        assert set(segmenter(sam, "grid").predict_all_rules(batch)) == set(MASK_RULES) - {"oracle_best"}
        with pytest.raises(UserError, match="E-SAM-ORACLE"):
            segmenter(sam, "grid", mask_rule="oracle_best").predict(batch)

    def test_oracle_best_is_at_least_as_good_as_any_one_mask_rule(self, sam):
        batch = batch_of(sample(), kind="grid")
        every = segmenter(sam, "grid").predict_all_rules(batch)
        truth = torch.from_numpy(sample().mask)

        def iou(rule: str) -> float:
            predicted = every[rule][0] > 0.5
            return float((predicted & truth).sum() / (predicted | truth).sum())

        assert iou("oracle_best") + 0.02 >= max(map(iou, ["top_iou", "top_stability", "largest", "contrast"]))


class TestDescribe:
    def test_a_grid_states_its_thresholds_and_rule(self, sam):
        described = SamSegmenter(
            sam,
            prompt=PromptConfig(kind="grid", points_per_side=8),
            mask_rule="union_topk",
            architecture="samis_lite",
            weights_sha256="ab",
            details={"adapter": "lora"},
        ).describe()
        assert described == {
            "kind": "zero_shot", "prompt": "grid", "mask_rule": "union_topk", "oracle": False,
            "architecture": "samis_lite", "frame_px": 64, "weights_sha256": "ab", "adapter": "lora",
            "rule_parameters": {"top_k": 5, "background_share": 0.5, "points_per_side": 8, "min_iou": 0.88,
                                "min_stability": 0.95, "stability_offset": 1.0, "nms_iou": 0.7},
        }  # fmt: skip

    @pytest.mark.parametrize(("kind", "rule", "oracle"), [
        ("empty", "single", False), ("whole", "top_iou", False), ("grid", "oracle_best", True),
        ("box", "top_iou", True), ("point", "single", True),
    ])  # fmt: skip
    def test_oracles_are_marked(self, sam, kind, rule, oracle):
        described = segmenter(sam, kind).describe(rule)
        assert (described["prompt"], described["mask_rule"], described["oracle"]) == (kind, rule, oracle)

    def test_a_batch_with_another_prompt_is_refused(self, sam):
        with pytest.raises(ValueError, match="expected 'empty', got a batch with 'box'"):
            segmenter(sam, "empty").predict(batch_of(sample(), kind="box"))
