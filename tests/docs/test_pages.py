"""Links lead somewhere, the glossary is in order, and numbers that stand in several places agree."""

from __future__ import annotations

import math
import re

import pytest

from tests.docs.commands import ROOT

LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    assert [link for link in LINK.findall((ROOT / page).read_text()) if not (folder / link).exists()] == []


def test_links_of_the_readme_lead_somewhere():
    assert [link for link in LINK.findall((ROOT / "README.md").read_text()) if not (ROOT / link).exists()] == []


def test_the_picture_of_the_readme_is_small_and_large_enough_to_read():
    from PIL import Image

    path = ROOT / "docs" / "images" / "report.webp"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert min(picture.size) >= 800


def test_the_glossary_is_in_order():
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert rows == sorted(rows, key=str.lower)
    assert len(rows) == len(set(rows))


def test_docs_name_the_parameters_that_the_checkpoint_has():
    from safetensors import safe_open

    def millions(name: str) -> float:
        with safe_open(ROOT / "samtok_eval" / "demo" / "checkpoint" / name, "np") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys()) / 1e6  # noqa: SIM118

    language, masks = millions("model.safetensors"), millions("mask_tokenizer/model.safetensors")
    parts = f"{language:.1f} M of the language model, {masks:.1f} M of the mask tokenizer"
    told = f"{language + masks:.1f} M parameters ({parts})"
    for page in ("README.md", "docs/demo.md"):
        assert told in " ".join((ROOT / page).read_text().split()), page
