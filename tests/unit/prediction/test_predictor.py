"""Maps for prediction: the scorer's own, whatever the batch; prompts of a person as in segment_anything."""

import tracemalloc

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from samis import factory
from samis.config import Experiment, FrameConfig, PromptConfig, SegmenterConfig
from samis.core.contracts import Sample
from samis.core.geometry import Framing, coverage
from samis.data.pipeline.loading import FramedDataset, collate
from samis.errors import UserError
from samis.prediction import LoadedModel, Options, Predictor, resolve_prompt
from samis.prediction.predictor import _in_window
from samis.prompts import build_prompter
from samis.prompts.given import ObjectPrompt
from samis.sam.framing import build_framing


@pytest.fixture(scope="module")
def config():
    return Experiment(segmenter=SegmenterConfig(architecture="samis_lite"), frame=FrameConfig(frame_px=128, tile_px=60))


@pytest.fixture(scope="module")
def segmenter(config):
    return factory.build_segmenter(config)


def picture(seed, hw):
    smooth = np.random.default_rng(seed).random((4, 5, 3))
    image = torch.nn.functional.interpolate(torch.tensor(smooth).permute(2, 0, 1)[None], hw, mode="bilinear")[0]
    return (image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


class Pictures:
    name, split = "pictures", "test"

    def __init__(self, samples):
        self.samples, self.ids = samples, [sample.id for sample in samples]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_maps_are_the_scorers_however_they_are_batched(config, segmenter):
    samples = [Sample(str(n), picture(n, hw)) for n, hw in enumerate([(40, 50), (100, 130), (60, 60), (61, 90)])]
    framing, prompter = build_framing(config.frame, config.segmenter.architecture), build_prompter(config.prompt)
    framed = FramedDataset(Pictures(samples), framing, prompter)
    wanted = [segmenter.predict(collate([framed[n]]))[0].numpy() for n in range(len(samples))]
    assert [len(framed[n].placements) for n in range(4)] == [1, 6, 1, 4]
    for views in (1, 4, 100):
        maps = Predictor(segmenter, framing, prompter, views_at_once=views).maps(samples)
        for ours, theirs in zip(maps, wanted, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


def prompted(segmenter, prompts, **options):
    whole = Experiment(segmenter=SegmenterConfig(architecture="samis_lite"), frame=FrameConfig(frame_px=128))
    model = LoadedModel(segmenter, whole, 0.3, "validation")
    chosen, prompter, threshold, source = resolve_prompt(model, prompts, Options(**options))
    return Predictor(chosen, build_framing(whole.frame, whole.segmenter.architecture), prompter), threshold, source


def test_boxes_and_clicks_give_segment_anythings_masks(segmenter):
    image = picture(7, (80, 128))
    stock = SamPredictor(segmenter.sam)
    stock.set_image(image)
    cases = [
        (ObjectPrompt((10, 12, 90, 60)), {"box": np.array([10, 12, 90, 60])}),
        (ObjectPrompt(None, ((40, 30, 1),)), {"point_coords": np.array([[40, 30]]), "point_labels": np.array([1])}),
    ]
    for given, prompt in cases:
        predictor, *_ = prompted(segmenter, {"a": [given]})
        masks, iou, _ = stock.predict(**prompt, multimask_output=True, return_logits=True)
        (ours,) = predictor.maps([Sample("a", image)])
        np.testing.assert_allclose(ours, 1 / (1 + np.exp(-masks[iou.argmax()])), atol=1e-4)


def test_photos_of_different_prompts_share_a_call(segmenter):
    prompts = {
        "a": [ObjectPrompt((1, 1, 30, 30)), ObjectPrompt((30, 30, 50, 40))],
        "b": [ObjectPrompt(None, ((5, 5, 1),))],
    }
    samples = [Sample(name, picture(n, (40, 50))) for n, name in enumerate("ab")]
    predictor, *_ = prompted(segmenter, prompts)
    together = predictor.maps(samples)
    for sample, values in zip(samples, together, strict=True):
        np.testing.assert_allclose(predictor.maps([sample])[0], values, atol=2e-5)


def test_the_validation_threshold_belongs_to_its_own_prompt(segmenter):
    assert prompted(segmenter, None)[1:] == (0.3, "validation")
    assert prompted(segmenter, {"a": [ObjectPrompt((1, 1, 3, 3))]})[1:] == (0.5, "SAM's own")
    assert prompted(segmenter, None, threshold=0.7)[1:] == (0.7, "given")


def test_a_network_without_prompts_refuses_one(config):
    with pytest.raises(UserError, match="E-PREDICT-PROMPT-NETWORK"):
        resolve_prompt(LoadedModel(object(), config, 0.5, ""), {"a": [ObjectPrompt((1, 1, 3, 3))]}, Options())


def test_an_oracles_prompt_cannot_be_had(config, segmenter):
    oracle = Experiment(segmenter=config.segmenter)
    oracle.prompt.kind = "box"
    with pytest.raises(UserError, match=r"prompt\.kind=box.*E-PREDICT-PROMPT-TRUTH"):
        resolve_prompt(LoadedModel(segmenter, oracle, 0.5, ""), None, Options())


@pytest.mark.parametrize(
    "option", [{"threshold": 1.5}, {"min_area_px": -1}, {"mm_per_px": 0.0}, {"batch_size": 0}, {"white": -1.0}]
)
def test_options_out_of_range_are_refused(option):
    name = next(iter(option)).removesuffix("_px") if "min_area_px" in option else next(iter(option))
    with pytest.raises(UserError, match=rf"^{name}: .*E-PREDICT-OPTION"):
        Options(**option)


class Shades:
    """A segmenter for one image, whose map is noise that depends on the views' pixels."""

    def predict(self, batch):
        drawn = np.random.default_rng(int(1000 * batch.images.abs().sum()))
        return [torch.from_numpy(drawn.random(batch.placements[0].file_hw, np.float32))]


@pytest.mark.parametrize("views", [1, 2, 3, 5])
def test_parts_are_blended_as_with_weights_of_the_whole_photo(views):
    image = np.random.default_rng(0).integers(0, 256, (130, 97, 3), np.uint8)
    framing, sample = Framing(32, 24), Sample("a", image)
    predictor = Predictor(Shades(), framing, build_prompter(PromptConfig()), views_at_once=views)
    (blended,) = predictor.maps([sample])
    placements = framing.placements((130, 97))
    total, weight = np.zeros((130, 97), np.float32), np.zeros((130, 97), np.float32)
    for start in range(0, len(placements), views):
        framed = predictor._framed(sample, placements[start : start + views])
        window, framed.placements = _in_window(placements[start : start + views])
        covered = coverage(framed.placements).numpy()
        total[window] += predictor._predict([framed])[0] * covered
        weight[window] += covered
    np.testing.assert_array_equal(blended, np.clip(total / np.maximum(weight, 1e-12), 0, 1))
    assert weight.min() > 0 and len(placements) > 20


def test_of_a_whole_photo_only_the_map_is_held():
    image = np.broadcast_to(np.uint8(90), (4000, 500, 3))
    predictor = Predictor(Shades(), Framing(64, 64), build_prompter(PromptConfig()), views_at_once=8)
    predictor.maps([Sample("small", image[:200])])
    tracemalloc.start()
    (blended,) = predictor.maps([Sample("a", image)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * blended.nbytes, "another array of the photo's size would make it 2"
