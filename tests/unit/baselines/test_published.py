"""Published numbers are read with what one must know before comparing them."""

from __future__ import annotations

import pytest

from samis.baselines.published import DATASETS, read_published


def test_reads_all_of_them():
    numbers = read_published()
    assert len(numbers) == 474
    assert {number.dataset for number in numbers} == set(DATASETS)
    assert all(0 <= number.value <= 1 and number.source and number.caution for number in numbers)


def test_numbers_of_all_900_say_that_they_saw_training_images():
    numbers = [number for number in read_published(dataset="sd_saliency_900") if number.split == "all-900"]
    assert len(numbers) == 300
    assert all("540 of them were training images" in number.caution for number in numbers)
    best = next(n for n in numbers if (n.method, n.metric, n.noise) == ("DACNet", "WF", 0.0))
    assert (best.value, best.year) == (0.9275, 2021)


def test_a_broken_line_is_named(tmp_path):
    head = "dataset,split,salt_pepper_noise,method,year,metric,value,source\n"
    (tmp_path / "a.csv").write_text(head + "MT,all,0,Net,,WF,0.5,paper\nMT,all,0,Net,,WF,high,paper\n")
    with pytest.raises(ValueError, match="line 3"):
        read_published(tmp_path / "a.csv")
