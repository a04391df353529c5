"""The names a notebook uses, as README shows them, on a few drawn surfaces and the embedded weights."""

import copy
import subprocess
import sys

import numpy as np
import pytest

import samis
from samis.errors import UserError
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import answers


@pytest.fixture(scope="module")
def rows():
    test = samis.load_dataset("procedural", split="test", surface="steel", count=4)
    model = samis.load_sam("samis_lite", prompt="empty")
    return model, samis.score(model, test), samis.score(samis.load_sam("samis_lite", prompt="box"), test)


def test_scores_carry_their_birth_certificate(rows):
    _, empty, box = rows
    assert isinstance(empty, ScoreRow)
    assert (empty.kind, empty.prompt, empty.oracle) == ("zero_shot", "empty", False)
    assert box.oracle
    assert empty.n_images == 4
    assert empty.provenance["weights_sha256"] == box.provenance["weights_sha256"]
    assert empty.provenance["data_fingerprint"] == box.provenance["data_fingerprint"]
    assert 0.5 < empty.metrics["s_measure"] != box.metrics["s_measure"] <= 1


def test_predicts_a_picture_of_any_size(rows):
    model, _, _ = rows
    values = model.predict(np.full((61, 83, 3), 120, np.uint8))
    assert values.shape == (61, 83)
    assert values.dtype == np.float32
    assert 0 <= values.min() <= values.max() <= 1


def test_gap_refuses_an_oracle(rows):
    _, empty, box = rows
    with pytest.raises(UserError, match=r"oracle.*E-ROW-NOT-COMPARABLE"):
        samis.gap_closed(empty, box, empty)


def test_rows_are_read_back(rows, tmp_path):
    _, empty, box = rows
    best = ScoreRow(**{**vars(empty), "name": "network", "kind": "baseline", "metrics": {"s_measure": 0.9}})
    for row in (empty, box, best):
        row.save(tmp_path / f"{row.name.replace(' ', '_')}.json")
    result = samis.read_rows(tmp_path)
    assert len(result) == 3
    assert result.best("s_measure").name == "network"
    assert all(len(row.images) == 4 for row in result)


def test_the_best_is_of_one_data_set_and_the_gap_that_of_the_report(rows, tmp_path):
    _, empty, _ = rows
    changes = {"kind": "baseline", "budget": ""}
    others = {
        "better elsewhere": {"dataset": "steel", "metrics": {"s_measure": 0.99}},
        "other split": {"split": "val", "metrics": {"s_measure": 0.98}},
        "here": {"metrics": {"s_measure": min(1.0, empty.metrics["s_measure"] + 0.05)}},
    }
    step = others["here"]["metrics"]["s_measure"] - empty.metrics["s_measure"]
    images = [image | {"s_measure": image["s_measure"] + step} for image in empty.images]
    made = [
        ScoreRow(**{**vars(empty), **changes, "name": name, "images": images, **more}) for name, more in others.items()
    ]
    after = ScoreRow(**{**vars(made[2]), "name": "tuned", "kind": "tuned"})
    for row in (empty, after, *made):
        row.save(tmp_path / f"{row.name.replace(' ', '_')}.json")
    result = samis.read_rows(tmp_path)
    with pytest.raises(UserError, match=r"steel \(test.*procedural.*\(val.*E-ROW-SEVERAL"):
        result.best("s_measure")
    with pytest.raises(UserError, match=r"split=.*E-ROW-SEVERAL"):
        result.best("s_measure", dataset=empty.dataset)
    best = result.best("s_measure", dataset=empty.dataset, split="test")
    assert best.name == "here" and result.best("s_measure", dataset="steel").name == "better elsewhere"
    with pytest.raises(UserError, match=r"'rail'.*E-ROW-CHOICE"):
        result.best("s_measure", dataset="rail")
    with pytest.raises(UserError, match=r"'network'.*E-ROW-CHOICE"):
        result.best("s_measure", kinds="network")
    with pytest.raises(UserError, match=r"best.*E-ROW-OBJECT"):
        samis.gap_closed(empty, empty, result.best("kappa"))
    read = {row.name: row for row in result}
    gap = samis.gap_closed(read[empty.name], read["tuned"], best)
    (reported,) = (g[0].gap for g in answers([read[empty.name], read["tuned"], best], ["s_measure"]).values())
    assert gap == reported and gap.closed == pytest.approx(1) and gap.interval is not None


def test_scoring_says_which_data_it_was_and_changes_nobodys_config(rows):
    model, empty, _ = rows
    assert empty.provenance["config"]["data"]["options"] == {"surface": "steel", "count": 4}
    assert empty.dataset == "procedural (count=4, surface=steel)"
    before = copy.deepcopy(model.config)
    samis.score(model, samis.load_dataset("procedural", split="val", surface="tile", count=1), protocol="published")
    assert model.config == before


class Bright:
    """A segmenter of the user's own, which knows nothing of samis."""

    def predict(self, batch):
        return [np.full(truth.shape, 0.25, np.float32) for truth in batch.truths]


def test_any_object_that_predicts_is_scored():
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2, clean_share=0)
    row = samis.score(Bright(), test)
    assert (row.name, row.kind, row.prompt, row.oracle, row.n_images) == ("Bright", "baseline", "none", False, 2)
    assert row.provenance["config"]["segmenter"] == {"name": "Bright"} and row.directions["mae"] == -1
    assert row.degenerate == "all maps full"

    class Described(Bright):
        def describe(self):
            return {"kind": "tuned", "weights_sha256": "abc"}

    row = samis.score(Described(), test, name="mine")
    assert (row.name, row.kind, row.provenance["weights_sha256"]) == ("mine", "tuned", "abc")
    with pytest.raises(UserError, match=r"int.*E-ROW-OBJECT"):
        samis.score(3, test)


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (lambda truth: truth * np.uint8(255), r"0\.\.255.*E-MAP-RANGE"),
        (lambda truth: truth * 20.0 - 10, r"-10\.\.10.*E-MAP-RANGE"),
        (lambda truth: truth * 1j, "complex128.*E-ROW-OBJECT"),
        (lambda truth: None, "NoneType.*E-ROW-OBJECT"),
        (lambda truth: truth[1:], "E-MAP-SIZE"),
        (lambda truth: np.where(truth, np.nan, 0), "E-MAP-NOT-FINITE"),
    ],
)
def test_maps_of_an_object_that_are_none_are_refused(answer, printed):
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2, clean_share=0)

    class Wrong:
        def predict(self, batch):
            return [answer(truth) for truth in batch.truths]

    with pytest.raises(UserError, match=printed):
        samis.score(Wrong(), test)


@pytest.mark.parametrize(
    "answers_of", [lambda maps: maps[:-1], lambda maps: maps * 2, lambda maps: dict(enumerate(maps)), lambda _: None]
)
def test_a_map_for_each_image_is_expected(answers_of):
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2, clean_share=0)

    class Wrong:
        def predict(self, batch):
            return answers_of([truth * 1.0 for truth in batch.truths])

    with pytest.raises(UserError, match=r"E-(MAP-COUNT|ROW-OBJECT)"):
        samis.score(Wrong(), test)


@pytest.mark.parametrize(
    ("printed", "word"),
    [
        ({"kind": "magic"}, "kind .*E-ROW-OBJECT"),
        ({"oracle": "no"}, "oracle .*E-ROW-OBJECT"),
        ({"weights": np.float32(1)}, "float32 .*weights.*E-ROW-OBJECT"),
        ([1], "list.*E-ROW-OBJECT"),
    ],
)
def test_what_an_object_says_of_itself_must_fit_a_row(printed, word):
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2, clean_share=0)

    class Wrong(Bright):
        def describe(self):
            return printed

    with pytest.raises(UserError, match=word):
        samis.score(Wrong(), test)


def test_a_row_of_a_run_has_all_metrics_of_its_protocol(rows):
    model, _, _ = rows
    watching = copy.deepcopy(model.config)
    watching.metrics.names = ["s_measure", "mae"]  # as a run's config has them
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2, clean_share=0)
    row = samis.score(samis.api.Model(model.segmenter, watching, "run"), test, protocol="inspection")
    assert {"aupro", "boundary_f"} <= set(row.metrics) and watching.metrics.names == ["s_measure", "mae"]


def test_unknown_names_are_told():
    with pytest.raises(AttributeError, match=r"it has .*load_dataset"):
        samis.load_everything  # noqa: B018


def test_what_is_printed_is_one_line(rows):
    model, row, _ = rows
    test = samis.load_dataset("procedural", split="test", surface="steel", count=2)
    for each in (model, row, test, test[0]):
        assert len(repr(each)) < 200 and "\n" not in repr(each)
    assert f"s_measure {row.metrics['s_measure']:.4f}" in repr(row) and "4 images" in repr(row)
    assert repr(samis.api.Rows([row, row])).splitlines()[0] == "<Rows: 2>"


def test_train_takes_a_name_and_predict_its_run(tmp_path):
    small = [
        "data.name=procedural",
        "data.options={surface: steel, count: 2}",
        "frame.frame_px=64",
        "training.epochs=1",
    ]
    more = ["training.gallery=0", "training.workers=0", "cache.embeddings=never", f"training.out={tmp_path / 'run'}"]
    run = samis.train("steel_decoder_lora", *small, *more)
    assert run == tmp_path / "run" and (run / "provenance.json").is_file()
    picture = np.full((40, 50, 3), 90, np.uint8)
    assert np.array_equal(samis.predict(run, picture), samis.load_run(run).predict(picture))
    with pytest.raises(UserError, match=r"steel_lora.*E-CONFIG-MISSING"):
        samis.train("steel_lorra")


def test_every_public_name_is_there_and_is_imported_late():
    code = "import sys, samis; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert all(getattr(samis, name) is not None for name in samis.__all__)
