"""What `--profile` says, and the arithmetic of the least that a run's work takes."""

from __future__ import annotations

import json

import pytest

from samtok_eval import evaluate
from samtok_eval.reports.page.page import write_reports
from samtok_eval.reports.summary import footer
from samtok_eval.run.measure import NOTHING, stage
from samtok_eval.run.profile import STAGES, Rates, Sizes, Work, least_seconds


@pytest.fixture(scope="module")
def runs(demo_root, tmp_path_factory):
    """The same run with and without."""
    given = {"model": "demo", "limit": 12, "data_root": str(demo_root), "device": "cpu"}
    return [evaluate("gres", out=tmp_path_factory.mktemp("runs"), profile=on, **given) for on in (True, False)]


def test_a_product_and_a_sum_for_each_weight_and_token_at_the_rate_of_the_device():
    sizes = Sizes(language=100, language_bytes=400, vision=10, mask_encoder=7000)
    work = Work(patches=50, read=30, written=4, steps=2, pictures=3)
    # 2 x 10 x 50; 2 x 100 x 30 and 2 x 100 x 4; 2 x 7000 x 3 operations, at 1,000 a second.
    found = least_seconds(sizes, work, Rates(flops=1000, copied_bytes=1e9))
    assert found == {"encode": 1.0, "generate": 6.8, "decode": 42.0}


def test_a_word_takes_no_less_than_reading_the_weights_once():
    sizes, work = Sizes(language=100, language_bytes=400), Work(written=4, steps=2)
    # 800 operations in 0.8 s; 2 x 400 bytes in 8 s.
    assert least_seconds(sizes, work, Rates(flops=1000, copied_bytes=100))["generate"] == 8.0


def test_every_stage_is_measured_and_takes_no_less_than_its_limit(runs):
    profile = runs[0].manifest.profile
    assert tuple(profile.stages) == STAGES
    for name, least in profile.least_seconds.items():
        assert 0 < least <= profile.stages[name].seconds
    assert all(stage.peak_bytes > 0 for stage in profile.stages.values())
    assert profile.samples_per_second > 0 and profile.tokens_per_second > 0


def test_tokens_are_counted_as_they_were_computed(runs):
    work = runs[0].manifest.profile.work
    # A picture of the demo has 64 patches and as many tokens, which its questions read together.
    assert work["pictures"] == runs[0].manifest.dataset.images
    assert work["patches"] == 64 * work["pictures"]
    assert 64 * work["pictures"] < work["read"] < 12 * 64
    assert work["steps"] <= work["written"] <= 12 * work["steps"]


def test_it_stands_in_manifest_table_and_page_and_changes_no_answer(runs):
    on, off = runs
    assert "profile" in json.loads((on.path / "manifest.json").read_text())
    assert "profile" not in json.loads((off.path / "manifest.json").read_text())
    assert on.manifest.run_key == off.manifest.run_key and on.metrics == off.metrics
    (line,) = [line for line in footer([on]) if "samples/s" in line]
    assert "generate" in line and "(limit" in line
    assert not any("samples/s" in line for line in footer([off]))
    assert line.strip() in write_reports([on.path])[0].read_text()


def test_without_it_nothing_is_measured():
    assert stage(None, "read") is NOTHING
