"""The table of what benchmarks publish: `sources.toml` of this package, or a file of the same form.

In: `[[source]]` tables. Out: one `Source` each, checked: nothing in the table leads out of the data root, and nothing
but HTTP is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from samtok_eval.files import inside, read_toml, reading

BUNDLED = Path(__file__).parent / "sources.toml"

Kind = Literal["file", "zip", "hub", "pictures", "by_hand"]


def _http(address: str) -> str:
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
        raise ValueError(f"an address must begin with http:// or https://, got {address!r}")
    return address


def _below(path: str) -> str:
    inside(Path(), path)
    return path


def _targets(members: dict[str, str]) -> dict[str, str]:
    for target in members.values():
        _below(target)
    return members


Address = Annotated[str, AfterValidator(_http)]
Below = Annotated[str, AfterValidator(_below)]
Members = Annotated[dict[str, str], AfterValidator(_targets)]
"""Pattern of names in a zip archive -> file under the data root, or folder where it ends in `/`."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Archive(BaseModel):
    """A zip archive that holds a whole folder of pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    size: int | None = None
    """Bytes."""
    sha256: Sha256 | None = None
    members: Members


class Source(BaseModel):
    """One thing that a benchmark publishes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...]
    """`NAME` for all splits, or `NAME:SPLIT`."""
    kind: Kind
    """`file`: one file. `zip`: members of an archive. `hub`: files of a Hub data set. `pictures`: those that the task's
    samples name, one by one. `by_hand`: only a person can get it."""
    address: Address
    """`file`, `zip`: of the file. `hub`: `https://HOST/datasets/OWNER/NAME@REVISION`. `pictures`: what stands before a
    picture's name. `by_hand`: the page to look at."""
    path: Below = ""
    """Under the data root: the file, the folder of the pictures or of a Hub data set, or what a person puts there."""
    via: Literal["original", "hub"] | None = None
    """For alternatives: used with this `--via` alone."""
    size: int | None = None
    """Bytes, where known."""
    sha256: Sha256 | None = None
    members: Members = {}
    inner: dict[str, Members] = {}
    """Archives inside the archive, with their members."""
    pattern: str = ""
    """`hub`: of the files; `{split}` stands for the split."""
    below: str = ""
    """`hub`: beginning of the files' names that is left out."""
    named_by: str = ""
    """`pictures`: the task and split whose samples name them, where the asked task's own do not."""
    archive: Archive | None = None
    """`pictures`: the archive of all of them."""
    licence: str
    host: str
    """Who hosts it."""
    checked: Literal["hashed", "stated", "address"]
    """How address, size and hash are known, see `sources.toml`."""

    @model_validator(mode="after")
    def _complete(self) -> Source:
        needed = {
            "file": bool(self.path),
            "zip": bool(self.members or self.inner),
            "hub": bool(self.path and self.pattern and "@" in self.address),
            "pictures": bool(self.path and self.address.endswith("/")),
            "by_hand": bool(self.path),
        }
        if not needed[self.kind]:
            raise ValueError(f"a source of kind {self.kind} lacks a field: {self.address}")
        return self

    def serves(self, task: str, split: str, via: str) -> bool:
        """Whether a split of a task needs it.

        Args:
            task: name.
            split: of the task.
            via: which of several alternatives is wanted.
        """
        return self.via in (None, via) and bool({task, f"{task}:{split}"} & set(self.tasks))


def read_sources(path: Path = BUNDLED) -> tuple[Source, ...]:
    """The sources of a table.

    Raises:
        DataError: missing, not TOML, or not such a table.
    """
    content = read_toml(path)
    with reading(f"{path} is not a table of sources", "correct it, see docs/data.md"):
        return tuple(Source.model_validate(row) for row in content["source"])


def sources_of(sources: Sequence[Source], task: str, split: str, via: str) -> list[Source]:
    """What a split of a task needs; where an alternative has none of the wanted kind, the other one.

    Args:
        sources: all.
        task: name.
        split: of the task.
        via: `original` or `hub`.
    """
    found = [source for source in sources if source.serves(task, split, via)]
    if not any(source.via for source in found):
        other = "hub" if via == "original" else "original"
        found += [source for source in sources if source.via and source.serves(task, split, other)]
    return found
