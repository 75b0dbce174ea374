"""Files of a data set on the Hugging Face Hub, or on a server that answers like it.

In: `https://HOST/datasets/OWNER/NAME@REVISION` and a pattern. Out: addresses of one commit, with sizes and hashes as
the Hub states them: SHA-256 of large files, Git's hash of small ones. Nothing of the Hub's own library is needed, and
no token is sent.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from samtok_eval.errors import DataError
from samtok_eval.fetch.download import Content, Patience, read_listing
from samtok_eval.files import reading, text, whole_number

_DATA_SET = re.compile(r"(https?://[^/]+)/datasets/([^/@]+/[^/@]+)@([^/@]+)")


class HubFile(NamedTuple):
    """One file of a data set."""

    name: str
    """In the repository."""
    address: str
    """Of the file in one commit."""
    content: Content


def hub_files(address: str, pattern: str, patience: Patience) -> list[HubFile]:
    """The files of a data set that match a pattern, by name.

    Args:
        address: of the data set and revision.
        pattern: of the names, as in a shell; `*` also stands for folders.
        patience: with the server.

    Raises:
        DataError: no such data set, it may not be read without a token, or none of its files matches.
    """
    parts = _DATA_SET.fullmatch(address)
    if parts is None:
        raise DataError(f"{address} is no data set; expected https://HOST/datasets/OWNER/NAME@REVISION")
    host, name, revision = parts.groups()
    answer = read_listing(f"{host}/api/datasets/{name}/revision/{revision}?blobs=true", patience)
    with reading(f"the answer about {address} is not that of a Hub", "try again later"):
        commit = text(answer["sha"])
        found = []
        for row in answer["siblings"]:
            file = text(row["rfilename"])
            if not fnmatchcase(file, pattern):
                continue
            large = row.get("lfs")
            known = {"sha256": text(large["sha256"])} if large else {"git_blob": text(row["blobId"])}
            content = Content(size=whole_number(row["size"]), **known)
            found.append(HubFile(file, f"{host}/datasets/{name}/resolve/{commit}/{file}", content))
    if not found:
        raise DataError(f"{address} has no file {pattern}; its owner may have renamed it")
    return sorted(found)
