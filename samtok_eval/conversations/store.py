"""The folder that tokenizing writes: parts that grow line by line, then one finished file.

`parts/part-<rank>.jsonl` is appended to and flushed per sample, so it is also the resume log, of skipped samples too;
`conversations.json` and `manifest.json` appear whole or not at all. No process waits for another: whichever sees every
sample in the parts writes the finished file, and two that see it at once write the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from samtok_eval.append_log import AppendLog
from samtok_eval.datasets.sft import MANIFEST, VIEWS, WRITTEN, SftConversation, in_words_of
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import numbered_lines, read_object, reading, write_bytes, write_json, write_text
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.resume import refuse_changes

SCHEMA_VERSION = 1
MAKE_AGAIN = "remove the line, it will be made again"
SAME = ("task", "task_version", "split", "prompt", "settings", "tokenizer_sha256", "dataset", "samtok_eval", "layout")
"""Parts of the manifest on which every byte of a conversation may depend."""


class Entry(BaseModel):
    """One line of a part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    conversation: SftConversation | None = None
    skipped: str | None = None
    """Why there is no conversation."""
    kept_answers: int = 0
    """Earlier answers that keep the file's own mask words."""


class ConversationFolder:
    """Paths and files of one tokenized split."""

    def __init__(self, path: Path, layout: Layout = DEFAULT_LAYOUT) -> None:
        self.path, self.layout = path, layout

    @property
    def finished(self) -> Path:
        """All conversations, a JSON list with one of them a line."""
        return self.path / WRITTEN

    @property
    def manifest(self) -> Path:
        """What was tokenized, with which settings, and what was skipped."""
        return self.path / MANIFEST

    def part(self, rank: int) -> Path:
        """Lines of one process."""
        return self.path / "parts" / f"part-{rank}.jsonl"

    def open(self, manifest: dict[str, Any]) -> None:
        """Begin, or go on where the same settings left off.

        Raises:
            UsageError: the folder holds conversations of other settings; the message names them.
            DataError: its manifest cannot be read.
        """
        if not self.manifest.exists():
            if any(self.path.glob("parts/part-*.jsonl")):
                raise UsageError(f"{self.path} holds parts but no manifest.json; choose an empty --out")
            write_json(self.manifest, {"schema_version": SCHEMA_VERSION, **manifest, "state": "running"})
            return
        before = read_object(self.manifest, "choose another --out")
        # Through JSON, since that is what the earlier run kept.
        now = json.loads(json.dumps(manifest))
        refuse_changes(self.path, {name: before.get(name) for name in SAME}, {name: now.get(name) for name in SAME})

    def clear(self, world_size: int) -> None:
        """Remove what an earlier call wrote.

        Args:
            world_size: processes of this call.

        Raises:
            UsageError: several processes would remove each other's parts, or the folder holds something else.
        """
        if world_size > 1:
            raise UsageError("--fresh with several processes would remove each other's parts; choose another --out")
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.manifest.is_file():
            raise UsageError(f"--out {self.path} holds something else than conversations; choose another --out")
        for folder in (self.path / "parts", self.path / VIEWS):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.finished, self.manifest):
            file.unlink(missing_ok=True)

    def entries(self) -> dict[str, Entry]:
        """Everything that is written so far, by id; a line that is being written does not count.

        Raises:
            DataError: a line is broken, or a sample occurs twice.
        """
        found: dict[str, Entry] = {}
        for path in sorted(self.path.glob("parts/part-*.jsonl")):
            for number, line in numbered_lines(path, "choose another --out", torn_tail=True):
                with reading(f"{path}:{number}", MAKE_AGAIN):
                    entry = Entry.model_validate_json(line, context=in_words_of(self.layout))
                if entry.id in found:
                    raise DataError(f"{path}:{number}: sample {entry.id!r} occurs twice; remove one of the lines")
                found[entry.id] = entry
        return found

    def finish(self, entries: Sequence[Entry], manifest: Mapping[str, Any]) -> None:
        """Write the finished file, then the manifest.

        Args:
            entries: one per sample, in the order of the benchmark's files.
            manifest: with its counters.
        """
        lines = [entry.conversation.to_line() for entry in entries if entry.conversation is not None]
        write_text(self.finished, "[\n" + ",\n".join(lines) + "\n]\n")
        write_json(self.manifest, {"schema_version": SCHEMA_VERSION, **manifest, "state": "complete"})


class PartLog(AppendLog):
    """Appends lines to a part, each on disk before the next is made; one process at a time."""

    def __init__(self, folder: ConversationFolder, rank: int) -> None:
        """Open the part.

        Raises:
            UsageError: another process is writing it.
        """
        super().__init__(folder.part(rank), "give every process its own --rank")
        self.folder = folder

    def append(self, entry: Entry, views: Mapping[str, bytes]) -> None:
        """Write the enlarged views, then the line that names them.

        Raises:
            UsageError: the system refuses, e.g. because the disk is full.
        """
        for name, content in views.items():
            write_bytes(self.folder.path / name, content)
        self.write_line(entry.model_dump_json(by_alias=True, exclude_defaults=True))
