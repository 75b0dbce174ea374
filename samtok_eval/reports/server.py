"""The pages of a folder of runs, served to browsers of this machine.

In: a `Site`. Out: HTTP on 127.0.0.1 alone. Pages are made when they are first asked for and kept in the user's cache
until what they are made of changes; run folders stay as they are. An address is looked up among the runs that are
there, never among files, and of a page only files that it is made of are given out. A name that leads here from
elsewhere (DNS rebinding) is refused, since a page of a stranger could then read what is served.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from contextlib import suppress
from errno import EADDRINUSE
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import samtok_eval
from samtok_eval.errors import SamtokError, UsageError
from samtok_eval.files import cache_folder, writing
from samtok_eval.reports.html import BESIDE, policy_of
from samtok_eval.reports.page import page
from samtok_eval.reports.site import (
    COMPARE,
    COMPARED,
    LIST,
    RUNS,
    SCRIPT,
    STYLE,
    Site,
    SiteRun,
    refusal_page,
)
from samtok_eval.unfinished import unfinished

logger = logging.getLogger(__name__)
ADDRESS = "127.0.0.1"
OURS = (ADDRESS, "localhost")
"""Names under which a browser may have asked; a tunnel may bring another port."""
ALLOWED = "GET, HEAD"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".jpg": "image/jpeg", ".png": "image/png"}
ICON, ICON_TYPE = "/favicon.ico", "image/x-icon"
"""What every browser asks for; there is none, which is no error."""
PAGE_OF = re.compile(rf"/({RUNS}|{COMPARE})/([A-Za-z0-9._+-]+)(?:/(.*))?")
FILE = re.compile(r"(?:[a-z0-9-]+/)*[a-z0-9-]+\.(?:html|css|js|jpg|png)")
"""Files of a page; no part of such a path is hidden or leads upwards."""
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOWHERE = "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What no page here needs, behind the policy that it states itself."""
PATIENCE = 60
"""Seconds that a browser may stay silent in the middle of a request."""
KEPT_DAYS = 30
"""Pages that nobody asked for in so long are made anew."""


class Answer(NamedTuple):
    """What a browser gets."""

    status: HTTPStatus
    body: bytes
    kind: str = TYPES[".html"]
    policy: str = policy_of()
    location: str | None = None


class Pages:
    """The pages that were made, below one folder; each is whole or not there."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        self._code = _hash_of_code()
        # Reports of long runs take memory, so they are made one after another.
        self._making = Lock()

    def of(self, runs: list[SiteRun]) -> Path:
        """The folder of the report of a run, or of a candidate against a baseline, made if it is not there.

        Raises:
            SamtokError: it cannot be made.
        """
        about = (self._code, self.site.data_root, self.site.samples, list(map(self.site.made_of, runs)))
        folder = self.folder / hashlib.sha256(repr(about).encode()).hexdigest()[:32]
        if not folder.is_dir():
            with self._making:
                # Another browser may have waited for the same page.
                if not folder.is_dir():
                    self._make(runs, folder)
        with suppress(OSError):
            (folder / LIST).touch()
        return folder

    def _make(self, runs: list[SiteRun], folder: Path) -> None:
        begun = time.monotonic()
        with writing(folder), unfinished(folder) as part:
            self.site.write_report([self.site.read(run) for run in runs], part)
        logger.info("page of %s made in %.1f s", ", ".join(run.place for run in runs), time.monotonic() - begun)

    def forget(self) -> None:
        """Remove pages that nobody asked for in `KEPT_DAYS`."""
        oldest = time.time() - KEPT_DAYS * 86400
        for folder in self.folder.glob("*") if self.folder.is_dir() else ():
            used = folder / LIST
            if (used if used.is_file() else folder).stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


class Server(ThreadingHTTPServer):
    """Serves a site on 127.0.0.1 until the process is interrupted."""

    daemon_threads = True

    def __init__(self, site: Site, port: int, cache: Path | None = None) -> None:
        """Listen.

        Args:
            site: what is served.
            port: 0 takes any free one.
            cache: folder of the pages that are made; of the user by default.

        Raises:
            UsageError: the port is taken, or may not be used.
        """
        self.site, self.pages = site, Pages(site, cache or cache_folder() / "view")
        self._shown: dict[tuple[str, str], Path] = {}
        self.pages.forget()
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            what = "is taken" if error.errno == EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UsageError(f"port {port} of {ADDRESS} {what}; give another --port, or 0 for any free one") from error

    @property
    def address(self) -> str:
        """Of the list."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error of ours."""
        logger.debug("a request of %s ended early", client_address, exc_info=True)

    def answer(self, target: str) -> Answer:
        """What there is under an address.

        Args:
            target: as asked for, not decoded: no address here holds anything that needs it.
        """
        path = urlsplit(target).path
        if path in ("/", f"/{LIST}"):
            return _page(self.site.list_page(self.site.runs()), policy_of(STYLE, SCRIPT))
        if path == ICON:
            return Answer(HTTPStatus.OK, b"", ICON_TYPE)
        asked = PAGE_OF.fullmatch(path)
        if asked is None:
            return _refused(HTTPStatus.NOT_FOUND, "No such page", "There is no page under this address.")
        kind, name, file = asked.groups()
        if not file:
            return Answer(HTTPStatus.MOVED_PERMANENTLY, b"", location=f"/{kind}/{name}/{LIST}")
        if not FILE.fullmatch(file):
            return _refused(HTTPStatus.NOT_FOUND, "No such file", "No page has a file of this name.")
        folder = self._shown.get((kind, name))
        # Runs are looked for again with each page, not with each of its pictures.
        if file == LIST or folder is None:
            runs = self._runs(kind, name)
            if runs is None:
                return _refused(HTTPStatus.NOT_FOUND, "No such page", "There is no run here under this address.")
            try:
                folder = self._shown[kind, name] = self.pages.of(runs)
            except SamtokError as error:
                return _refused(HTTPStatus.CONFLICT, "This page cannot be made", str(error))
        return _file(folder, file)

    def _runs(self, kind: str, name: str) -> list[SiteRun] | None:
        """The run of a page, or baseline and candidate; None where there are none of this name."""
        known = self.site.runs()
        if kind == RUNS:
            found = next((run for run in known if run.name == name), None)
            return [found] if found else None
        keys, by_key = COMPARED.fullmatch(name), {run.key: run for run in known}
        both = [by_key[key] for key in keys.groups() if key in by_key] if keys else []
        return both if len(both) == 2 and both[0] != both[1] else None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "samtok-eval", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """A page or a file of one."""
        self._reply()

    def do_HEAD(self) -> None:
        """The same without its content."""
        self._reply()

    def __getattr__(self, name: str) -> Any:
        # http.server looks for do_METHOD; every other method is known, and refused.
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def _refuse_method(self) -> None:
        # What the request may carry is not read.
        self.close_connection = True
        answer = _refused(HTTPStatus.METHOD_NOT_ALLOWED, "Nothing can be changed here", f"Only {ALLOWED} are answered.")
        self._send(answer)

    def _reply(self) -> None:
        if not self._is_ours():
            self.close_connection = True
            told = f"This server answers under {' and '.join(OURS)} alone; use one of these addresses."
            self._send(_refused(HTTPStatus.MISDIRECTED_REQUEST, "Wrong address", told))
            return
        self._send(cast(Server, self.server).answer(self.path))

    def _is_ours(self) -> bool:
        hosts = self.headers.get_all("Host") or []
        try:
            return len(hosts) == 1 and urlsplit(f"//{hosts[0].strip()}").hostname in OURS
        except ValueError:
            return False

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in ALWAYS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", answer.policy + NOWHERE)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ALLOWED)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Requests are of use to find a fault alone."""
        logger.debug(format, *args)


def _hash_of_code() -> str:
    """Of everything that lays pages out, so that another version makes its own."""
    digest = hashlib.sha256(samtok_eval.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.*")):
        if path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _page(text: str, policy: str) -> Answer:
    return Answer(HTTPStatus.OK, text.encode(), policy=policy)


def _refused(status: HTTPStatus, title: str, message: str) -> Answer:
    return Answer(status, refusal_page(title, message, "/").encode())


def _file(folder: Path, name: str) -> Answer:
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return _refused(HTTPStatus.NOT_FOUND, "No such file", "The page has no file of this name.")
    policy = policy_of(page.STYLE, page.SCRIPT) if name == LIST else BESIDE
    return Answer(HTTPStatus.OK, path.read_bytes(), TYPES[path.suffix], policy)
