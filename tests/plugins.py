"""Fixtures that several rooms' tests share; named as a plugin in `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab


@pytest.fixture(scope="session")
def reactor_thread() -> Iterator[ReactorThread]:
    """Give the reactor in its thread; it runs until the end of the session."""
    thread = ReactorThread()
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def lab(reactor_thread: ReactorThread) -> Iterator[Lab]:
    """Give a laboratory of routers on loopback; its end checks that every router's figures add up."""
    with Lab(reactor_thread) as made:
        yield made
