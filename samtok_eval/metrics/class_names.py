"""How near the name that a model gives a region is to the region's class, as Osprey scores it.

In: an answer and a class name. Out: the words that are compared, and their overlap. The rules are those of Osprey's
`osprey/eval/lvis_paco_eval.py`; its other measure is the cosine of sentence embeddings (`text_similarity.SENTENCES`).
"""

from __future__ import annotations


def named(answer: str) -> str:
    """The name in an answer: what stands between the first colon and the next, if there is one, without full stops."""
    answer = answer.strip()
    if ":" in answer:
        answer = answer.split(":")[1]
    return answer.replace(".", " ").replace(",", " ")


def semantic_iou(name: str, category: str) -> float:
    """Words in common by words of either, regardless of case, order and number; 0 where neither has a word."""
    mine, right = set(name.lower().split()), set(category.lower().split())
    either = len(mine | right)
    return len(mine & right) / either if either else 0.0
