"""Holds the code to the plan of the house (`tests/layout.py`), and the reader of imports to its promise."""

import pytest

from tests import layout

FILES = {layout.module_name(path): path for path in layout.package_files()}


@pytest.mark.parametrize("module", FILES)
def test_imports_follow_the_plan(module: str) -> None:
    """No file imports what its room may not."""
    path = FILES[module]
    faults = layout.import_faults(module, path.read_text(), is_package=path.name == "__init__.py")
    assert list(faults) == []


@pytest.mark.parametrize("module", FILES)
def test_public_names_are_described(module: str) -> None:
    """Every public module, class and function says what it promises."""
    assert list(layout.docstring_faults(module, FILES[module].read_text())) == []


def test_rooms_form_no_circle() -> None:
    """No two rooms import each other, directly or by way of others."""
    assert layout.circles(layout.room_edges()) == []


def test_files_form_no_circle() -> None:
    """No two files import each other, directly or by way of others, for types neither."""
    assert layout.circles(layout.file_edges()) == []


def test_table_of_arrows_is_sound() -> None:
    """Each arrow of the table points to a room that stands below."""
    assert list(layout.table_faults(layout.ARROWS)) == []


def test_page_shows_the_table() -> None:
    """The architecture page carries the tables as they stand here; `python -m tests.layout` writes them."""
    page = layout.ARCHITECTURE.read_text()
    assert layout.BEGIN in page
    assert page == layout.page_with_arrows(page)


def test_plugin_folders_are_no_packages() -> None:
    """An `__init__.py` there would hide Twisted itself."""
    assert sorted(path.name for path in (layout.ROOT / "twisted").rglob("*.py")) == ["imxrouter_plugin.py"]


BAD_IMPORTS = {
    "upward": (
        "imxrouter.wire.x",
        "from imxrouter.link import claims",
        "may not import imxrouter.link.claims",
    ),
    "sideways": ("imxrouter.tls.x", "import imxrouter.discovery", "may not import imxrouter.discovery"),
    "package itself": ("imxrouter.wire.x", "from imxrouter import link", "may not import imxrouter.link"),
    "relative": ("imxrouter.wire.x", "from ..link import claims", "may not import imxrouter.link.claims"),
    "relative to a room": ("imxrouter.wire.x", "from .. import link", "may not import imxrouter.link"),
    "in a function": ("imxrouter.wire.x", "def f():\n import imxrouter.link", "x:2: wire may not import"),
    "for types only": (
        "imxrouter.wire.x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from imxrouter.link import claims",
        "x:3: wire may not import",
    ),
    "other gateway": ("imxrouter.gateways.sip.x", "import imxrouter.gateways.xmpp.codec", "may not import"),
    "records in the pure half": (
        "imxrouter.gateways.xmpp.x",
        "import imxrouter.wire.record",
        "may not import",
    ),
    "outer half from the pure one": (
        "imxrouter.gateways.xmpp.x",
        "from imxrouter.gateways.xmpp.streams import session",
        "may not import imxrouter.gateways.xmpp.streams",
    ),
    "a gateway from below": (
        "imxrouter.transport.x",
        "import imxrouter.gateways.xmpp.streams.session",
        "may not import",
    ),
    "chance in a gateway": ("imxrouter.gateways.xmpp.x", "import secrets", "is pure and may not import"),
    "more than the client": ("imxrouter.cli.x", "from imxrouter.admin import server", "may not import"),
    "top of the house": (
        "imxrouter.transport.x",
        "from imxrouter import app",
        "may not import imxrouter.app",
    ),
    "lab from app": ("imxrouter.app", "import imxrouter.lab", "may not import imxrouter.lab"),
    "unknown target": ("imxrouter.app", "import imxrouter.cellar", "may not import imxrouter.cellar"),
    "unknown room": ("imxrouter.cellar.x", "", "cellar is not a room"),
    "code in the corridor": ("imxrouter.gateways.x", "import imxrouter.wire", "not a room"),
    "twisted": ("imxrouter.link.x", "from twisted.python import log", "may not import twisted"),
    "clock": ("imxrouter.link.x", "import time", "may not import time"),
    "clock by datetime": (
        "imxrouter.formats.x",
        "import datetime\ndatetime.datetime.now()",
        "read the clock",
    ),
    "chance": ("imxrouter.routing.x", "from random import choice", "may not import random"),
    "submodule": ("imxrouter.wire.x", "import urllib.request", "may not import urllib.request"),
    "file": ("imxrouter.wire.x", "import pathlib", "may not import pathlib"),
    "pure half": ("imxrouter.discovery.order", "import socket", "may not import socket"),
    "reactor": ("imxrouter.transport.x", "from twisted.internet import reactor", "name the reactor"),
    "reactor by module": ("imxrouter.tls.x", "import twisted.internet.reactor", "name the reactor"),
    "reactor in a function": ("imxrouter.admin.x", "def f():\n from twisted.internet import reactor", "x:2:"),
}


@pytest.mark.parametrize("name", BAD_IMPORTS)
def test_a_bad_import_is_found(name: str) -> None:
    """Each kind of forbidden import is reported once, with its place."""
    module, source, expected = BAD_IMPORTS[name]
    (fault,) = layout.import_faults(module, source)
    assert expected in fault


GOOD_IMPORTS = {
    "own room": ("imxrouter.wire.x", "from imxrouter.wire import record\nfrom . import record"),
    "downward": ("imxrouter.link.x", "from imxrouter.wire.record import Record"),
    "version": ("imxrouter.cli.x", "from imxrouter import __version__"),
    "client of admin": ("imxrouter.cli.x", "from imxrouter.admin.client import call"),
    "streams of a gateway": ("imxrouter.probe.x", "from imxrouter.gateways.xmpp.streams import connect"),
    "a gateway's outer half": (
        "imxrouter.gateways.xmpp.streams.x",
        "from imxrouter.gateways.xmpp import names\nimport imxrouter.transport.link, twisted.internet.defer",
    ),
    "harmless library": ("imxrouter.link.x", "import hashlib, hmac, struct, datetime\ndatetime.timedelta(1)"),
    "same first letters": ("imxrouter.link.x", "import timeit_like_name, osmosis"),
    "outer half": ("imxrouter.discovery.adapter", "import dns.resolver, twisted.internet.defer"),
    "everything": ("imxrouter.app", "import imxrouter.cli.main\nfrom twisted.internet import reactor"),
    "exception": ("imxrouter.config.load", "from pathlib import Path"),
}


@pytest.mark.parametrize("name", GOOD_IMPORTS)
def test_a_good_import_is_let_through(name: str) -> None:
    """The reader reports nothing that the plan allows."""
    module, source = GOOD_IMPORTS[name]
    assert list(layout.import_faults(module, source)) == []


def test_a_relative_import_of_a_package_starts_in_it() -> None:
    """In an `__init__.py` one dot means the folder of the file."""
    assert list(layout.import_faults("imxrouter.wire", "from . import record", is_package=True)) == []
    assert list(layout.import_faults("imxrouter.wire", "from .. import link", is_package=True)) != []


def test_a_circle_is_found() -> None:
    """A path that comes back is reported as that path."""
    assert layout.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert layout.circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_an_arrow_to_a_higher_room_is_found() -> None:
    """A table that would allow a circle is refused, as is one that names an unknown room."""
    assert len(list(layout.table_faults({"a": ("b",), "b": ()}))) == 1
    assert len(list(layout.table_faults({"a": (), "b": ("a", "cellar")}))) == 1


UNDESCRIBED = {
    "module": "x = 1",
    "function": '"""M."""\ndef f(): pass',
    "class": '"""M."""\nclass C: pass',
    "method": '"""M."""\nclass C:\n """C."""\n def f(self): pass',
    "under a condition": '"""M."""\nif x:\n def f(): pass',
}


@pytest.mark.parametrize("name", UNDESCRIBED)
def test_a_missing_docstring_is_found(name: str) -> None:
    """Each kind of public name without a docstring is reported once."""
    assert len(list(layout.docstring_faults("imxrouter.wire.x", UNDESCRIBED[name]))) == 1


def test_private_names_need_no_docstring() -> None:
    """What others do not call, and magic methods, may do without."""
    source = (
        '"""M."""\ndef _f(): pass\nclass _C:\n def f(self): pass\n'
        'class D:\n """D."""\n def __init__(self): pass'
    )
    assert list(layout.docstring_faults("imxrouter.wire.x", source)) == []
