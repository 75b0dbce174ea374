"""Marks of an answer beside its mask words: around phrases, around the reasoning, around the final answer."""

from __future__ import annotations

QWEN_MARKS = ("<|object_ref_start|>", "<|object_ref_end|>")
GLAMM_MARKS = ("<p>", "</p>")
"""What stands around a phrase that has a mask."""


def marked_phrase(phrase: str, words: str) -> str:
    """A phrase and the mask words behind it, as SAMTok checkpoints write them."""
    return f"{QWEN_MARKS[0]} {phrase} {QWEN_MARKS[1]} {words}"


def split_thinking(answer: str) -> tuple[str | None, str | None]:
    """Reasoning and final answer of a think/answer reply, as the released RL evaluation splits it.

    The first `<think>...</think>` and the first `<answer>...</answer>` are looked for independently of each other. A
    part that is not there in full is what stands before or after a cut at the first `<answer>`, else at the first
    `</think>`. So text behind `</answer>` does not belong to a closed answer.

    Returns:
        (thinking, final answer), each None when there is no such part; both None for an answer without any mark.
    """
    thinking, final = _between(answer, "<think>", "</think>"), _between(answer, "<answer>", "</answer>")
    for mark in ("<answer>", "</think>"):
        before, found, after = answer.partition(mark)
        if found:
            return before if thinking is None else thinking, after if final is None else final
    return thinking, final


def final_part(answer: str) -> str:
    """The final answer of a think/answer reply; the whole text where no answer part can be told apart."""
    final = split_thinking(answer)[1]
    return answer if final is None else final


def _between(text: str, opening: str, closing: str) -> str | None:
    """What stands between the first opening mark and the next closing one; in time linear in the text."""
    inside, found, _ = text.partition(opening)[2].partition(closing)
    return inside if found else None
