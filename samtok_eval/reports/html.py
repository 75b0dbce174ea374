"""HTML pages of one file each: a template, the shared style and script inside it, and no word from the network.

Everything that a template prints is escaped. The page's own policy admits exactly the style and script that were
written into it, by their hashes, so that a name that slipped through could still not run.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from samtok_eval.text import visible

STYLE, SCRIPT = "base.css", "table.js"
NAME_SHOWN, TEXT_SHOWN = 200, 1500
"""Characters of one name or phrase, and of one text."""


BESIDE = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'"
"""Policy of a page whose style, script, data and pictures are files beside it."""


def render(
    template: str, *, style: str | None = None, script: str | None = None, folder: bool = False, **values: object
) -> str:
    """A page from a template of `templates/` that extends `base.html.j2`.

    Args:
        template: its file name.
        style: file of the page's own rules, after the shared ones.
        script: file of the page's own script, after the shared one.
        folder: whether the template names style and script as files beside the page, instead of holding them.
        **values: what the template prints.
    """
    environment = _environment()
    if folder:
        return environment.get_template(template).render(page={"policy": BESIDE}, **values)
    rules = "".join(asset(name) for name in (STYLE, style) if name)
    code = "".join(asset(name) for name in (SCRIPT, script) if name)
    policy = f"default-src 'none'; img-src data:; style-src {_hash(rules)}; script-src {_hash(code)}"
    # Both are files of this package, so they may stand unescaped.
    page = {"style": Markup(rules), "script": Markup(code), "policy": policy}  # noqa: S704
    return environment.get_template(template).render(page=page, **values)


def shown(text: str, length: int = NAME_SHOWN) -> str:
    """A text of any origin as a page prints it: hidden characters spelt out, what is beyond the length cut off."""
    beginning = visible(text[:length], keep="\n\t")
    return beginning if len(text) <= length else f"{beginning} … ({len(text):,} characters)"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("samtok_eval.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = shown
    return environment


def asset(name: str) -> str:
    """A file of `templates/` that no template engine reads: style or script."""
    loader = _environment().loader
    assert loader is not None  # noqa: S101 - for the type checker
    return loader.get_source(_environment(), name)[0]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
