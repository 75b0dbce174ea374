from __future__ import annotations

import pytest

from tests.support.faulty_server import FileServer


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.close()
