"""What the docs tell to type exists, links lead somewhere, and numbers that stand in several places agree."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest

from tests.test_interface import options

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/faq.md", "docs/demo.md", "docs/python.md", "docs/adding_a_task.md", "docs/glossary.md")
BLOCK = re.compile(r"^```(?:bash)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
OPTION = re.compile(r"--?[a-z][a-z-]*")


def typed(page: str) -> list[list[str]]:
    """Commands of this program in the blocks of a page, without what starts them and without comments."""
    found = []
    for line in "\n".join(BLOCK.findall((ROOT / page).read_text())).splitlines():
        begins = re.search(r"(?:^|\s)(samtok-eval|run_eval\.py) ", line)
        if begins and not line.startswith(("error:", "  ")):
            words = shlex.split(line[begins.end() :], comments=True)
            found.append(words if begins[1] == "samtok-eval" else ["run", *words])
    return found


def unknown(words: list[str], known: dict[str, dict[str, object]]) -> list[str]:
    """What of a command does not exist."""
    name = next((" ".join(words[:count]) for count in (3, 2, 1) if " ".join(words[:count]) in known), None)
    if name is None:
        return words[:1]
    return [word for word in words if OPTION.fullmatch(word) and word not in known[name]]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    known = options()
    commands = typed(page)
    assert {" ".join(words): unknown(words, known) for words in commands if unknown(words, known)} == {}


def test_every_answer_of_the_faq_that_names_a_command_is_looked_at():
    assert len(typed("docs/faq.md")) >= 25
    assert unknown(["run", "--colour", "gres"], options()) == ["--colour"]
    assert unknown(["walk"], options()) == ["walk"]


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    assert [link for link in LINK.findall((ROOT / page).read_text()) if not (folder / link).exists()] == []


def test_links_of_the_readme_lead_somewhere():
    assert [link for link in LINK.findall((ROOT / "README.md").read_text()) if not (ROOT / link).exists()] == []


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
