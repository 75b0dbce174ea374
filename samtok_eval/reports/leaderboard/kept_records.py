"""Records beside a result file, compressed, so that anybody can score them again.

In: a run's `records.jsonl`. Out: `<task>.records.jsonl.gz` of the same bytes for the same records, or, where it lies
elsewhere, its hash and address in the result file. The hash is of the uncompressed lines.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from samtok_eval.errors import DataError
from samtok_eval.files import MAX_BYTES, read_chunks, write_bytes
from samtok_eval.records import Records
from samtok_eval.reports.result_file import RecordsEntry
from samtok_eval.run.record_file import read_records

BESIDE, NOWHERE = "beside", "none"
SUFFIX = ".records.jsonl.gz"
WINDOW = 2**20
GZIP = b"\x1f\x8b"
ANOTHER_COPY = "get another copy, or submit the run again"


def records_beside(result: Path) -> Path:
    """Where the records of a result file lie, if they lie beside it."""
    return result.with_name(result.name.removesuffix(".json") + SUFFIX)


def entry_of(records: Path, kept: str) -> RecordsEntry | None:
    """What a result file says of its records.

    Args:
        records: `records.jsonl` of the run.
        kept: `beside` the result file, `none`, or the address at which they can be had.

    Raises:
        DataError: the file cannot be read.
    """
    if kept == NOWHERE:
        return None
    digest = hashlib.sha256()
    for chunk in read_chunks(records, "run `score` again"):
        digest.update(chunk)
    return RecordsEntry(sha256=digest.hexdigest(), place=None if kept == BESIDE else kept)


def write_compressed(records: Path, target: Path) -> None:
    """Compress a file, whole or not at all; the same bytes for the same content.

    Raises:
        DataError: the file cannot be read.
        UsageError: the system refuses to write.
    """
    held = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=held, mtime=0) as packed:
        for chunk in read_chunks(records, "run `score` again"):
            packed.write(chunk)
    write_bytes(target, held.getvalue())


def read_kept(path: Path, entry: RecordsEntry) -> dict[str, Records]:
    """Records by protocol from a compressed or plain file.

    Args:
        path: the file.
        entry: what the result file says of it.

    Raises:
        DataError: it is missing, broken or too large, or holds other records.
    """
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "records.jsonl"
        digest = _unpack(path, plain)
        if digest != entry.sha256:
            raise DataError(
                f"{path} holds other records ({digest[:8]}) than the result was computed from ({entry.sha256[:8]}); "
                f"{ANOTHER_COPY}"
            )
        return read_records(plain)


def _unpack(path: Path, plain: Path) -> str:
    """Write the uncompressed lines, and return their hash."""
    digest, size = hashlib.sha256(), 0
    chunks = read_chunks(path, ANOTHER_COPY)
    first = next(chunks, b"")
    unpacker = zlib.decompressobj(wbits=31) if first.startswith(GZIP) else None
    with plain.open("wb") as file:
        while first:
            rest = first
            while rest:
                try:
                    piece = unpacker.decompress(rest, WINDOW) if unpacker else rest
                except zlib.error as error:
                    raise DataError(f"{path} is not a whole gzip file ({error}); {ANOTHER_COPY}") from error
                rest = unpacker.unconsumed_tail if unpacker else b""
                size += len(piece)
                if size > MAX_BYTES:
                    raise DataError(f"{path} holds more than {MAX_BYTES} bytes; {ANOTHER_COPY}")
                digest.update(piece)
                file.write(piece)
            first = next(chunks, b"")
    if unpacker and not unpacker.eof:
        raise DataError(f"{path} is not a whole gzip file (it ends too early); {ANOTHER_COPY}")
    return digest.hexdigest()
