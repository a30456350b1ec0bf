"""Fixtures of the tests against XMPP servers by others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.interop.edge.places import EJABBERD, PROSODY, RESOLVER, Edge, edge
from tests.interop.edge.routers import EdgeRouter
from tests.interop.edge.whole import WholeRouter

R = TypeVar("R", bound=EdgeRouter)

#: Lines of each log that a failed test shows.
_TAIL_LINES = 60


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Both servers in their namespaces; once for all files of this folder."""
    yield from edge(tmp_path_factory.mktemp("edge"))


@pytest.fixture
def lab(built: Edge) -> Edge:
    """The laboratory without a stream between servers."""
    built.close_streams()
    built.note()
    return built


@pytest.fixture(scope="module")
def routers(built: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EdgeRouter]]:
    """Whole routers in the place of those that are an inside alone."""
    yield from _before_the_servers(EdgeRouter, built, tmp_path_factory.mktemp("routers"))


@pytest.fixture(scope="module")
def whole(built: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WholeRouter]]:
    """Routers that speak to the outside too, by XMPP and by IMX."""
    yield from _before_the_servers(WholeRouter, built, tmp_path_factory.mktemp("whole"))


def _before_the_servers(kind: type[R], built: Edge, where: Path) -> Iterator[dict[str, R]]:
    made = {}
    for name, side in {"prosody": PROSODY, "ejabberd": EJABBERD}.items():
        built.insides[side.name].kill()
        made[name] = kind(side, built.places[side.name], where / name, built.authorities, RESOLVER)
    for one in made.values():
        one.others = [other for other in made.values() if other is not one]
        one.start()
    for one in made.values():
        one.until_watched()
    yield made
    for one in made.values():
        one.kill()
        inside = built.insides[one.side.name]
        inside.start()
        inside.ready()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show with a failed test what the servers logged in it."""
    report = yield
    lab = item.funcargs.get("lab") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(lab, Edge):
        for log, position in lab.began.items():
            tail = log.since(position).splitlines()[-_TAIL_LINES:]
            report.sections.append((f"end of {log.path}", "\n".join(tail)))
    return report
