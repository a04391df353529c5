"""The names a notebook uses, as README shows them, on a few drawn surfaces and the embedded weights."""

import numpy as np
import pytest

import samis
from samis.scores import ScoreRow


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
    with pytest.raises(ValueError, match="oracle"):
        samis.gap_closed(empty, box, empty)


def test_rows_are_read_back(rows, tmp_path):
    _, empty, box = rows
    best = ScoreRow(**{**vars(empty), "name": "network", "kind": "baseline", "metrics": {"s_measure": 0.9}})
    for row in (empty, box, best):
        row.save(tmp_path / f"{row.name.replace(' ', '_')}.json")
    found = samis.read_rows(tmp_path)
    assert len(found) == 3
    assert found.best("s_measure").name == "network"


def test_unknown_names_are_told():
    with pytest.raises(AttributeError, match="it has load_dataset"):
        samis.load_everything  # noqa: B018
