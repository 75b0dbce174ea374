"""Pickles take no more than they hold, and import nothing."""

from __future__ import annotations

import pickle
import random
import struct
from functools import partial

import pytest

from samtok_eval.datasets.pickles import MAX_TUPLES, read_plain_pickle
from samtok_eval.errors import DataError
from tests.support.hostile import bounded
from tests.support.timing import LINEAR, growth

ATTACKS = {
    "memo index": b"\x80\x02]r\xff\xff\xff\x7f.",
    "text memo index": b"(lp999999999\n.",
    "memo index of more digits than a number may have": b"(lp" + b"9" * 5000 + b"\n.",
    "text of 2^62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "text of 4 GB": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x.",
    "bytes of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "bytearray of 8 GB": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.",
    "string of negative length": b"T" + struct.pack("<i", -1) + b"x.",
    "number of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "frame of 2^62 bytes": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].",
    "tuples a million deep as a key": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "tuples on detours a million deep": b"\x80\x02})" + b"\x85K\x010" * 1_000_000 + b"K\x01s.",
    "no end": b"\x80\x02]q\x00",
    "unknown opcode": b"\x80\x02]\xff.",
    "import by name": b"cos\nsystem\n(S'true'\ntR.",
    "import by instance": b"(S'true'\nios\nsystem\n.",
    "import from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"Pdata\n.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_takes_no_more_than_it_holds_and_imports_nothing(tmp_path, attack):
    path = tmp_path / "refs.p"
    path.write_bytes(ATTACKS[attack])
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from samtok_eval.datasets.pickles import read_plain_pickle; from samtok_eval.errors import DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_plain_pickle(Path(sys.argv[1]))\nexcept DataError as error:\n    print('refused', error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = bounded(code, path)
    assert done.returncode == 0, done.stderr
    refused, kilobytes = done.stdout.splitlines()
    assert refused.startswith(f"refused {path} is not a pickle of plain lists")
    assert int(kilobytes) < 100_000


def test_a_pickle_with_some_tuples_is_read_and_one_with_very_many_is_refused(tmp_path):
    path = tmp_path / "refs.p"
    value = [{"box": (i, 2)} for i in range(MAX_TUPLES)]
    path.write_bytes(pickle.dumps(value))
    assert read_plain_pickle(path) == value
    path.write_bytes(pickle.dumps([*value, {"box": (-1, 2)}]))
    with pytest.raises(DataError, match="more than 10000 tuples"):
        read_plain_pickle(path)


def test_every_cut_and_every_changed_byte_of_a_pickle_is_read_or_refused(tmp_path):
    path = tmp_path / "refs.p"
    value = [
        {"ref_id": i, "sentences": [{"sent": "é" * i}], "ann_id": [1.5, -1, None, True], "t": (i, "x")}
        for i in (0, 70_000)
    ]
    rng = random.Random(0)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        whole = pickle.dumps(value, protocol=protocol)
        for at in rng.sample(range(len(whole)), min(60, len(whole))):
            for damaged in (whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]):
                path.write_bytes(damaged)
                try:
                    read_plain_pickle(path)
                except DataError as error:
                    assert str(path) in str(error)


def test_checking_a_pickle_takes_time_linear_in_it(tmp_path):
    def file(count):
        path = tmp_path / f"{count}.p"
        refs = [
            {"ref_id": i, "sentences": [{"sent": f"the man number {i}", "tokens": ["the", "man"]}]}
            for i in range(count)
        ]
        path.write_bytes(pickle.dumps(refs, protocol=2))
        return partial(read_plain_pickle, path)

    assert growth(file, 5_000) < LINEAR
