"""One file over HTTP: resumed where it stopped, checked, and there whole or not at all.

In: an address, a target and what is known of the content. Out: the target. Until then the bytes lie beside it in
`.NAME.part`, with `.NAME.part.json` saying which version of the file they are of, so that bytes of two versions are
never put together.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import IO, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import samtok_eval
from samtok_eval.append_log import lock_for_writing
from samtok_eval.errors import DataError
from samtok_eval.files import reason, writing
from samtok_eval.retry_after import asked_wait

CHUNK = 2**18
MAX_BYTES = 2**36
"""Of a file whose size nobody states; the largest archive known here has a third of it."""
MAX_LISTING_BYTES = 2**26
BEGINNING = 64
"""Bytes that tell a web page from a file."""
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
MAX_WAIT = 60.0


class StoppedError(Exception):
    """The user wants no more."""


@dataclass(frozen=True)
class Content:
    """What is known of a file before it is asked for."""

    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    git_blob: str | None = None
    """Git's own hash of it."""


@dataclass(frozen=True)
class Patience:
    """How a server is treated."""

    tries: int = 5
    """In a row that bring not one byte more."""
    first_wait: float = 1.0
    """Seconds before the second try; doubled each time."""
    timeout: float = 60.0
    """Seconds without data after which a try ends."""
    stop: Event = field(default_factory=Event)
    """Set when the user wants no more."""

    def wait(self, failures: int, asked: float) -> None:
        """Wait before the next try.

        Args:
            failures: tries in a row that brought nothing.
            asked: seconds that the server asks for; more than `MAX_WAIT` are not waited.

        Raises:
            StoppedError: the user wants no more.
        """
        seconds = min(max(asked, self.first_wait * 2 ** (failures - 1)), MAX_WAIT)
        if self.stop.wait(seconds):
            raise StoppedError


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to one that anybody on the way can change."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise DataError(f"{req.full_url} leads to {newurl}, which is not encrypted; it is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_address(request: Request, timeout: float) -> Any:
    """Ask over HTTP or HTTPS, through the proxy that the system names, if any.

    Args:
        request: what is asked.
        timeout: seconds without a byte.

    Raises:
        OSError: no answer, or one that says no (`HTTPError`).
    """
    # Not `build_opener`, which also opens local files.
    opener = OpenerDirector()
    handlers = (ProxyHandler, HTTPHandler, HTTPSHandler, _Redirects, HTTPDefaultErrorHandler, HTTPErrorProcessor)
    for handler in handlers:
        opener.add_handler(handler())
    return opener.open(request, timeout=timeout)


def asked(address: str, **headers: str) -> Request:
    """A request for the bytes as they are."""
    parts = urlsplit(address)
    # Published addresses hold brackets and signs that a request line must not.
    quoted = urlunsplit(parts._replace(path=quote(parts.path, safe="/%:@+()~")))
    own = {"User-Agent": f"samtok-eval/{samtok_eval.__version__}", "Accept-Encoding": "identity"}
    return Request(quoted, headers=own | headers)  # noqa: S310 - `open_address` knows HTTP alone


def read_listing(address: str, patience: Patience) -> Any:
    """A small JSON answer.

    Raises:
        DataError: no such address, not JSON, or the server does not answer after several tries.
        StoppedError: the user wants no more.
    """
    for failures in range(1, patience.tries + 1):
        try:
            with open_address(asked(address), patience.timeout) as response:
                body = response.read(MAX_LISTING_BYTES + 1)
            break
        except (OSError, http.client.HTTPException) as error:
            _refuse_final(error, address)
            if failures == patience.tries:
                raise DataError(f"{address}: {_reason(error)} after {failures} tries; try again later") from error
            patience.wait(failures, _asked_wait(error))
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{address} answers with something else than JSON; try again later") from error


def download(
    address: str, target: Path, content: Content, patience: Patience, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Get one file.

    Args:
        address: of the file.
        target: where it goes; nothing lies there yet.
        content: what is known of it.
        patience: how often and how long to try.
        progress: told how many bytes came; below 0 where some are thrown away.

    Raises:
        DataError: the server has no such file, sends a web page or another content, or does not answer after
            several tries.
        UsageError: the disk refuses, or another process is getting the same file.
        StoppedError: the user wants no more; the next call goes on.
    """
    part = target.with_name(f".{target.name}.part")
    version = part.with_name(f"{part.name}.json")
    with writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            try:
                _Transfer(address, file, version, content, patience, progress).run()
                os.fsync(file.fileno())
                part.replace(target)
            finally:
                # An unfinished file is kept for the next call, and nothing of it where not one byte came.
                if part.exists() and not part.stat().st_size:
                    part.unlink()
                if not part.exists():
                    version.unlink(missing_ok=True)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, for this process alone."""
    with part.open("ab+") as file:
        lock_for_writing(file, part, "wait for it")
        yield file


class _Transfer:
    """Bytes of one file on their way."""

    def __init__(
        self,
        address: str,
        file: BinaryIO,
        version: Path,
        content: Content,
        patience: Patience,
        progress: Callable[[int], None],
    ) -> None:
        self._address, self._file, self._version = address, file, version
        self._content, self._patience, self._progress = content, patience, progress
        self._have = file.seek(0, os.SEEK_END)
        self._progress(self._have)

    def run(self) -> None:
        """Until all bytes are there and are the right ones."""
        failures, most = 0, self._have
        while True:
            try:
                self._ask()
                break
            except (OSError, http.client.HTTPException) as error:
                _refuse_final(error, self._address)
                # More than ever before, since a server without ranges may break off now earlier, now later.
                failures = 0 if self._have > most else failures + 1
                most = max(most, self._have)
                if failures >= self._patience.tries:
                    told = f"{_reason(error)} after {failures} tries"
                    raise DataError(f"{self._address}: {told}; the same command goes on later") from error
                self._patience.wait(max(failures, 1), _asked_wait(error))
        self._check()

    def _ask(self) -> None:
        """Ask for what is missing, and write it."""
        known = self._known_version()
        if self._have and not known:
            self._begin_anew()
        headers = {"Range": f"bytes={self._have}-", "If-Range": known} if self._have else {}
        try:
            response = open_address(asked(self._address, **headers), self._patience.timeout)
        except HTTPError as error:
            # All bytes were there already; or they are of another file, and then they are asked for from the first on.
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and self._have:
                error.close()
                if _total(error.headers.get("Content-Range")) != self._have:
                    self._begin_anew()
                    self._ask()
                return
            raise
        with response:
            total = self._expected(response)
            # `read1` hands on what is there, so that a timeout loses nothing of it.
            while chunk := response.read1(CHUNK):
                self._write(chunk, total)
                if self._patience.stop.is_set():
                    raise StoppedError
        if total is not None and self._have < total:
            raise http.client.IncompleteRead(b"", total - self._have)

    def _expected(self, response: Any) -> int | None:
        """How many bytes the file has, after checking that this is what was asked for."""
        headers = response.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise DataError(f"{self._address} comes packed as {headers['Content-Encoding']}, which was not asked for")
        if response.status == http.client.PARTIAL_CONTENT:
            found = _RANGE.match(headers.get("Content-Range", ""))
            if not found or found[1] is None or int(found[1]) != self._have:
                self._begin_anew()
                raise http.client.IncompleteRead(b"")
            return _total(headers.get("Content-Range"))
        if self._have:
            # The server knows no ranges, or the file changed.
            self._begin_anew()
        if headers.get_content_type() == "text/html" and not self._address.endswith((".html", ".htm")):
            raise self._web_page()
        self._remember(headers)
        length = headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        wanted = self._content.size
        if wanted is not None and total is not None and total != wanted:
            raise DataError(
                f"{self._address} has {total} bytes, its publisher says {wanted}; it is another version of the file"
            )
        return total

    def _write(self, chunk: bytes, total: int | None) -> None:
        if not self._have and _WEB_PAGE.match(chunk[:BEGINNING]) and not self._address.endswith((".html", ".htm")):
            raise self._web_page()
        most = self._content.size or total or MAX_BYTES
        if self._have + len(chunk) > most:
            self._begin_anew()
            raise DataError(f"{self._address} sends more than the {most} bytes that it should have; try again later")
        # A full disk is no fault of the server, so it is told apart here.
        with writing(Path(self._file.name)):
            self._file.write(chunk)
            self._file.flush()
        self._have += len(chunk)
        self._progress(len(chunk))

    def _check(self) -> None:
        """Refuse what has other bytes than known; nothing of it is kept."""
        wanted = self._content
        wrong = None
        if wanted.size is not None and self._have != wanted.size:
            wrong = f"{self._have} bytes instead of {wanted.size}"
        elif wanted.sha256 or wanted.git_blob:
            self._file.seek(0)
            wrong = differs(self._file, self._have, wanted)
        if wrong:
            self._begin_anew()
            raise DataError(
                f"{self._address} has {wrong}; it is another version of the file, or was damaged on the way"
            )

    def _begin_anew(self) -> None:
        self._progress(-self._have)
        self._file.truncate(0)
        self._file.seek(0)
        self._have = 0
        self._version.unlink(missing_ok=True)

    def _known_version(self) -> str:
        """What names the version of the bytes that are there; empty where nothing does."""
        try:
            stored = json.loads(self._version.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        same = isinstance(stored, dict) and stored.get("address") == self._address
        return str(stored.get("version", "")) if same else ""

    def _remember(self, headers: http.client.HTTPMessage) -> None:
        tag = headers.get("ETag", "")
        # A weak tag may stand for other bytes of the same meaning.
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        with writing(self._version):
            self._version.write_text(json.dumps({"address": self._address, "version": version}), encoding="utf-8")

    def _web_page(self) -> DataError:
        return DataError(
            f"{self._address} sends a web page, not the file: it moved, or asks for a sign-in; open it in a browser"
        )


def differs(file: BinaryIO, size: int, wanted: Content) -> str | None:
    """What is wrong with the bytes of a file, from where it stands; None where nothing is.

    Args:
        file: open for reading.
        size: its bytes.
        wanted: what is known of them.
    """
    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        blob.update(chunk)
    if wanted.sha256 and sha256.hexdigest() != wanted.sha256:
        return f"sha256 {sha256.hexdigest()} instead of {wanted.sha256}"
    if wanted.git_blob and blob.hexdigest() != wanted.git_blob:
        return f"git hash {blob.hexdigest()} instead of {wanted.git_blob}"
    return None


def _total(content_range: str | None) -> int | None:
    """The size of the whole file, as an answer about a part gives it."""
    found = _RANGE.match(content_range or "")
    return int(found[2]) if found and found[2].isdecimal() else None


def _refuse_final(error: Exception, address: str) -> None:
    """Raise `DataError` for an answer that another try would not change."""
    if isinstance(error, HTTPError) and error.code not in BUSY:
        why = {404: "it is not there", 410: "it is gone", 401: "it needs a sign-in", 403: "the server refuses it"}
        told = why.get(error.code, http.client.responses.get(error.code, "no"))
        raise DataError(f"{address}: {error.code}, {told}; see the page of the benchmark") from error


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"{error.code} {http.client.responses.get(error.code, '')}".strip()
    if isinstance(error, URLError):
        return reason(error.reason) if isinstance(error.reason, Exception) else str(error.reason)
    return reason(error)


def _asked_wait(error: Exception) -> float:
    """Seconds that a busy server asks for."""
    return asked_wait(error.headers.get("Retry-After", "")) if isinstance(error, HTTPError) else 0.0
