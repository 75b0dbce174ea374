"""HTML pages of one file each: a template, the shared style and script inside it, and no word from the network.

Everything that a template prints is escaped. The page's own policy admits exactly the style and script that were
written into it, by their hashes, so that a name that slipped through could still not run.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from samtok_eval.text import visible

STYLE, SCRIPT = "base.css", "table.js"
Files = tuple[str, ...]
"""Names of files in `templates/`."""
NAME_SHOWN, TEXT_SHOWN = 200, 1500
"""Characters of one name or phrase, and of one text."""


CONTENT = '<main id="content">'
"""Where the content of every page begins."""
BESIDE = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'"
"""Policy of a page whose style, script, data and pictures are files beside it."""


def render(
    template: str, *, style: str | Files = (), script: str | Files = (), folder: bool = False, **values: object
) -> str:
    """A page from a template of `templates/` that extends `base.html.j2`.

    Args:
        template: its file name.
        style: file of the page's own rules, after the shared ones, or several.
        script: file of the page's own script, after the shared one, or several.
        folder: whether the template names style and script as files beside the page, instead of holding them.
        **values: what the template prints.
    """
    environment = _environment()
    if folder:
        return environment.get_template(template).render(page={"policy": BESIDE}, **values)
    rules, code = _joined(STYLE, style), _joined(SCRIPT, script)
    # Both are files of this package, so they may stand unescaped.
    page = {"style": Markup(rules), "script": Markup(code), "policy": policy_of(style, script)}  # noqa: S704
    return environment.get_template(template).render(page=page, **values)


def policy_of(style: str | Files = (), script: str | Files = ()) -> str:
    """The policy of a page that holds these files, see `render`."""
    rules, code = _joined(STYLE, style), _joined(SCRIPT, script)
    return f"default-src 'none'; img-src data:; style-src {_hash(rules)}; script-src {_hash(code)}"


def with_way_back(page: str, address: str, text: str) -> str:
    """A page of `render` with a link to where it belongs above its content.

    Args:
        page: the document.
        address: of the link.
        text: of the link.
    """
    link = f'<p class="note"><a href="{escape(address)}">{escape(text)}</a></p>'
    return page.replace(CONTENT, f"{CONTENT}\n{link}", 1)


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


def _joined(shared: str, own: str | Files) -> str:
    return "".join(map(asset, (shared, *((own,) if isinstance(own, str) else own))))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
