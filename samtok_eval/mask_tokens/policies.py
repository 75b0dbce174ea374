"""Policies: the ways to read the masks of an answer, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Protocol

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens.codes import Codes
from samtok_eval.mask_tokens.layout import DEFAULT_LAYOUT, Layout
from samtok_eval.mask_tokens.marks import final_part
from samtok_eval.mask_tokens.released import ref_gcg, ref_gres, ref_last, ref_nodes, ref_rl_gres
from samtok_eval.mask_tokens.spans import parse
from samtok_eval.mask_tokens.whole_pairs import ALIKE_ON_PAIRS, plain_pairs


class Policy(Protocol):
    """A way to read an answer."""

    def __call__(self, answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
        """Codes of the masks that the answer names, in order of mention."""


def _default(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return [span.codes for span in parse(answer, layout) if span.codes is not None]


def _first_code(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return [codes.up_to(1) for codes in _default(answer, layout)]


def _final(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    return _default(final_part(answer), layout)


PAIR_POLICIES: dict[str, Callable[[str], list[Codes]]] = {
    "ref_gres": ref_gres,
    "ref_rl_gres": ref_rl_gres,
    "ref_gcg": ref_gcg,
}
"""Rules of scripts that exist for 256x2 alone; what they would do with other layouts nobody wrote down."""


def _for_pairs(name: str) -> Policy:
    """A rule of `PAIR_POLICIES` as a policy."""
    read = PAIR_POLICIES[name]

    @wraps(read)
    def policy(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
        if layout != DEFAULT_LAYOUT:
            raise UsageError(
                f"the policy {name} reads answers of layout {DEFAULT_LAYOUT}, got {layout}; "
                f"choose from {', '.join(other for other in POLICIES if other not in PAIR_POLICIES)}"
            )
        return read(answer)

    return policy


POLICIES: dict[str, Policy] = {
    "default": _default,
    "first_code": _first_code,
    "final": _final,
    **{name: _for_pairs(name) for name in PAIR_POLICIES},
    "ref_last": ref_last,
    "ref_nodes": ref_nodes,
}
"""Ways to read an answer. `default` repairs per span; `first_code` drops every code but the first; `final` reads the
final answer of a think/answer reply alone; the others follow the released scripts for GRES and GroundingSuite,
RL-trained GRES, GCG, RefCOCO with the multi-round sets, and the nodes of scene graphs, each a text between quotes that
is read as an answer of RefCOCO. The last two take any layout."""


def masks_of(answer: str, policy: str = "default", layout: Layout = DEFAULT_LAYOUT) -> list[Codes]:
    """Codes of the masks that an answer names, under a named policy.

    Args:
        answer: the model's whole text.
        policy: a key of `POLICIES`.
        layout: of the checkpoint that wrote it.

    Returns:
        Codes in order of mention; -1 where a code is absent.

    Raises:
        PolicyCrashError: the reference script of that policy would stop here.
        UsageError: the reference script of that policy knows no such layout.
        KeyError: unknown policy.
    """
    return list(_kept_masks(answer, policy, layout))


# Protocols read an answer one after another, several of them under one policy.
@lru_cache(maxsize=1 << 11)
def _kept_masks(answer: str, policy: str, layout: Layout) -> tuple[Codes, ...]:
    plain = plain_pairs(answer) if layout == DEFAULT_LAYOUT and policy in ALIKE_ON_PAIRS else None
    return tuple(POLICIES[policy](answer, layout)) if plain is None else plain


def has_policy(policy: str, layout: Layout) -> bool:
    """Whether answers of a layout can be read under a policy; some released scripts know pairs of 256 codes alone."""
    return layout == DEFAULT_LAYOUT or policy not in PAIR_POLICIES
