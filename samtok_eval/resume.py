"""Going on in a folder: what it was begun with against what is given now, and one line where they differ.

Training runs and `tokenize` go on only as they began, since a result of two settings is a result of neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from samtok_eval.errors import UsageError

HASH = re.compile(r"[0-9a-f]{32,}")
SHOWN_OF_A_HASH = 12


def refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()) -> None:
    """Refuse to go on under other settings.

    Args:
        folder: what goes on.
        before: settings it was begun with, as JSON.
        now: settings that are given now, as JSON.
        free: names that may differ.

    Raises:
        UsageError: each setting that differs is named with both values.
    """
    changes = settings_changed(before, now, free)
    if changes:
        raise UsageError(
            f"{folder} was begun with other settings: {'; '.join(changes)}; give the old ones, another --out, or "
            "--fresh to start anew"
        )


def settings_changed(before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """`limit was 8, now 9` for every value that differs, names of inner objects joined by dots."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if name in free or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{text}" for text in settings_changed(old, new)]
        else:
            found.append(f"{name} was {_shown(old)}, now {_shown(new)}")
    return found


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value[:SHOWN_OF_A_HASH] if HASH.fullmatch(value) else value
