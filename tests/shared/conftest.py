"""What the tests of the REST toolkit start with."""

from collections.abc import Iterator

import pytest

from shared import checkpoints
from tests.sources import faulty_http
from tests.sources.faulty_http import FaultyServer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_http.start() as running:
        yield running


@pytest.fixture
def every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every page."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
