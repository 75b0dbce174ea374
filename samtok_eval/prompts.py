"""Every prompt template, with its origin.

In: the words of a sample. Out: the text of one user turn. A template never changes under its id; a new wording gets a
new id, because the id is part of every signature.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """One template."""

    id: str
    template: str
    origin: str

    def __call__(self, **words: str) -> str:
        """The text with its words filled in."""
        return self.template.format(**words)


SEGMENT_PHRASE = Prompt(
    "segment-phrase",
    "Please segment {phrase} in this image.",
    "SAMTok evaluation of GRES and RefCOCO, projects/samtok/evaluation/qwen3vl/qwen3vl_gres_eval.py:366",
)
NO_TARGET_ANSWER = "No target."
"""What SAMTok checkpoints are trained to say when nothing matches (projects/samtok/datasets/tokenize_2d_mask)."""
