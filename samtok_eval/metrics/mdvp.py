"""MDVP-Bench: a judge looks at a picture with numbered boxes and rates two answers to a question about them.

Rules and texts: `evaluation/MDVP-Bench/` of Grasp-Any-Region (e479816), which is that of Draw-and-Understand
(28a1bd1) but for the pairing. Draw-and-Understand has the descriptions of all regions of a picture rated at once, and
so does `strict` here. Grasp-Any-Region's files have one line per region, while its scorer still takes one line per
picture: the first ten lines of all, which are of Android screenshots, are rated under the pictures of every domain.
`official` does the same. Of the other kinds of questions each has one answer, and is rated as Draw-and-Understand does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samtok_eval.images import read_image
from samtok_eval.metrics.judge import JudgePrompt, Picture
from samtok_eval.metrics.judging import Judgement, Judging, mean_of_means
from samtok_eval.metrics.marked_picture import marked
from samtok_eval.metrics.ratings import meant_pair, original_pair
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.prompts import JUDGE_MARKED, JUDGE_PAIR_ROLE
from samtok_eval.regions import as_png
from samtok_eval.sample import CaptionTarget, Sample

CONTEXTS = {
    "android": "The image is an andriod screenshot.",
    "multipanel": "The image is a multi-panel figure.",
    "natural": "The image is a natural image.",
    "ocr_doc": "The image contains text, and the user wishes to know the content of the text.",
    "ocr_spotting": "The image contains text, and the user wishes to know the content of the text.",
    "web": "The image is a webpage screenshot.",
}
"""What the judge is told of each domain, to the letter, in the order in which they are judged."""
COLUMNS = {
    "mdvp_natural": ("natural",),
    "mdvp_ocr": ("ocr_doc", "ocr_spotting"),
    "mdvp_multipanel": ("multipanel",),
    "mdvp_screenshot": ("android", "web"),
}
"""Metrics, and the domains of which each is the mean."""
MAX_TOKENS = 1024


def _own(domain: str) -> str:
    return f"rating_{domain}"


def _reference(domain: str) -> str:
    return f"rating_reference_{domain}"


class MarkedPictures(Judging):
    """The judge rates the reference and a model's descriptions from 1 to 10; a domain's score is the ratio of sums."""

    given = tuple(COLUMNS)

    def together(self, samples: Sequence[Sample], captions: Sequence[str], *, original: bool) -> Sequence[Judging]:
        """All regions of a picture at once, or as the original pairs lines with pictures."""
        pictures: dict[tuple[str, str], list[int]] = {}
        for i, sample in enumerate(samples):
            pictures.setdefault((domain_of(sample), sample.image.id), []).append(i)
        if original:
            return self._paired_by_place(samples, list(pictures.values()))
        found: dict[int, Judging] = {}
        for several in pictures.values():
            mine = [samples[i] for i in several]
            said = "\n".join(_said(samples[i], captions[i]) for i in several)
            found |= dict.fromkeys(several, _OnePicture(mine, said))
        return [found[i] for i in range(len(samples))]

    def _paired_by_place(self, samples: Sequence[Sample], pictures: Sequence[Sequence[int]]) -> Sequence[Judging]:
        """Line by line, each with the picture of the same place in every domain."""
        asked: list[list[tuple[int, Sequence[Sample]]]] = [[] for _ in samples]
        for domain in CONTEXTS:
            own = [[samples[i] for i in several] for several in pictures if domain_of(samples[several[0]]) == domain]
            for place, (here, mine) in enumerate(zip(asked, own, strict=False), start=1):
                here.append((place, mine))
        return [_OneLine(here) for here in asked]

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """The picture with the one region."""
        return _OnePicture([sample], _said(sample, caption)).prompts(sample, caption)

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """Both ratings of the one region."""
        return _OnePicture([sample], "").judgement(sample, replies, original=original)

    def of_empty(self, sample: Sample) -> None:
        """The judge is asked about an empty caption, too: its rating of the reference enters the score."""

    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """The ratio of the sums of ratings in each domain, and of two domains the mean."""
        ratios = {
            domain: Ratio(own.numerators, statistics[_reference(domain)].numerators, own.clusters)
            for domain in CONTEXTS
            if (own := statistics.get(_own(domain))) is not None
        }
        return {
            name: ratios[domains[0]] if len(domains) == 1 else mean_of_means([ratios[domain] for domain in domains])
            for name, domains in COLUMNS.items()
            if all(domain in ratios for domain in domains)
        }


@dataclass(frozen=True)
class _OnePicture(MarkedPictures):
    """Descriptions of all its regions are rated at once; each region has an equal part of the ratings."""

    regions: Sequence[Sample]
    said: str

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """The same for every region of the picture, so that it is asked once."""
        right = "\n".join(_said(one, CaptionTarget.of(one).words["caption"]) for one in self.regions)
        return [_prompt(self.regions, right, self.said)]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """A reply that cannot be read is left out and counted."""
        pair = meant_pair(replies[0])
        if pair is None:
            return Judgement({}, unread=1)
        reference, own = (rating / len(self.regions) for rating in pair)
        domain = domain_of(sample)
        return Judgement({_reference(domain): reference, _own(domain): own})


@dataclass(frozen=True)
class _OneLine(MarkedPictures):
    """A caption that is rated under the picture of its place in every domain, or nowhere."""

    asked: Sequence[tuple[int, Sequence[Sample]]]
    """Places from 1, and all regions of the picture in that place."""

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """One per domain."""
        right = CaptionTarget.of(sample).words["caption"]
        return [_prompt(mine, right, caption, (f"{_category(mine[0])} {place}", caption)) for place, mine in self.asked]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """What cannot be read is -1 and -1."""
        found = {}
        for (_, mine), reply in zip(self.asked, replies, strict=True):
            domain = domain_of(mine[0])
            found[_reference(domain)], found[_own(domain)] = original_pair(reply)
        return Judgement(found)


class MarkedQuestion(MarkedPictures):
    """A question about the boxes of a picture, and one answer to it."""

    def together(self, samples: Sequence[Sample], captions: Sequence[str], *, original: bool) -> Sequence[Judging]:
        """Each alone."""
        return [self] * len(samples)

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """The picture with all its boxes."""
        target = CaptionTarget.of(sample)
        about = f"{_category(sample)} {target.words['number']}", caption
        return [_shown(sample, list(enumerate(target.boxes, start=1)), target.words["answer"], caption, about)]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """Both ratings. What cannot be read is -1 and -1 for the original, and otherwise left out and counted."""
        pair = original_pair(replies[0], alone=True) if original else meant_pair(replies[0])
        if pair is None:
            return Judgement({}, unread=1)
        domain = domain_of(sample)
        return Judgement({_reference(domain): pair[0], _own(domain): pair[1]})


def domain_of(sample: Sample) -> str:
    """Where a region's picture is from."""
    named = CaptionTarget.of(sample).words["domain"]
    return next(domain for domain in CONTEXTS if named.startswith(f"{domain}_"))


def _category(sample: Sample) -> str:
    """As a recording of the original names domain and kind."""
    return f"{CaptionTarget.of(sample).words['domain']}_box"


def _said(sample: Sample, caption: str) -> str:
    return f"<Region {CaptionTarget.of(sample).words['number']}>: {caption}"


def _prompt(regions: Sequence[Sample], right: str, said: str, about: tuple[str, str] | None = None) -> JudgePrompt:
    """Two descriptions under a picture with the boxes of these regions, all of one picture."""
    boxes = []
    for one in regions:
        x1, y1, x2, y2 = map(int, one.target.box or (0, 0, 0, 0))
        boxes.append((int(CaptionTarget.of(one).words["number"]), (x1, y1, x2, y2)))
    return _shown(regions[0], boxes, right, said, about)


def _shown(
    sample: Sample,
    boxes: Sequence[tuple[int, tuple[int, int, int, int]]],
    right: str,
    said: str,
    about: tuple[str, str] | None,
) -> JudgePrompt:
    """A question, two answers, and its picture with numbered boxes."""
    image, question = sample.image, CaptionTarget.of(sample).words["question"]
    name = f"{image.id} marked {' '.join(f'{number}: {box}' for number, box in boxes)}"
    picture = Picture(name, lambda: as_png(marked(read_image(image), boxes)))
    text = JUDGE_MARKED(context=CONTEXTS[domain_of(sample)], question=question, answer=right, model_output=said)
    return JudgePrompt((text, picture), JUDGE_PAIR_ROLE, MAX_TOKENS, "high", about)
