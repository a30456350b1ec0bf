"""`twistd imxrouter`: options, what a bad configuration is answered with, and the tree of services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application, IService, IServiceMaker, MultiService, Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, Logger
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError

from imxrouter import tap
from imxrouter.app.router import Router

GOOD = """
name = "im.a.example"
state_dir = "{folder}/state"
run_dir = "{folder}"
trust.default_policy = "dialback"

[[service]]
name = "home"
kind = "embedded"
users = ["alice"]

[[domain]]
name = "a.example"
service = "home"
"""


def still() -> Any:
    """Return a reactor that does nothing."""
    return MemoryReactorClock()  # type: ignore[no-untyped-call]


def options(*words: str) -> tap.Options:
    """Parse a command line."""
    parsed = tap.Options()  # type: ignore[no-untyped-call]
    parsed.parseOptions(list(words))  # type: ignore[no-untyped-call]
    return parsed


def make(tmp_path: Path, text: str = GOOD, *words: str) -> Any:
    """Make the service of a configuration, with a reactor that does nothing."""
    file = tmp_path / "imxrouter.toml"
    file.write_text(text.replace("{folder}", str(tmp_path)))
    return tap.makeService(options("--config", str(file), *words), reactor=still())


@pytest.mark.parametrize("words", [[], ["--config", "x", "--lab"]])
def test_one_of_config_and_lab_is_needed(words: list[str]) -> None:
    """Neither and both are refused, with what to give."""
    with pytest.raises(UsageError, match="either --config FILE or --lab"):
        options(*words)


def test_process_must_be_a_number() -> None:
    """A converter says so before anything is read."""
    with pytest.raises(UsageError, match=r"invalid literal for int.*first"):
        options("--config", "x", "--process", "first")


def test_the_service_is_a_tree_that_does_nothing_yet(tmp_path: Path) -> None:
    """One router under the service that sets the log; nothing listens before the application starts."""
    service = make(tmp_path)
    assert IService.providedBy(service)
    assert isinstance(service, MultiService)
    (router,) = list(service)
    assert isinstance(router, Router)
    assert isinstance(router, Service)
    assert router.config.name == "im.a.example"
    assert not router.running
    assert router.ready() == (False, "not listening yet")
    assert router._reactor.tcpServers == []
    assert not (tmp_path / "admin.sock").exists()


def test_the_application_logs_as_configured(tmp_path: Path) -> None:
    """The observer is ours from the moment twistd takes the service."""
    log = tmp_path / "router.log"
    application: Any = Application("imxrouter")  # type: ignore[no-untyped-call]
    make(tmp_path, GOOD + f'[log]\nfile = "{log}"\n').setServiceParent(application)
    Logger("imxrouter.test", observer=application.getComponent(ILogObserver)).info("hello")
    assert json.loads(log.read_text().splitlines()[-1])["text"] == "hello"


def test_the_command_line_names_the_process(tmp_path: Path) -> None:
    """`--process` wins over the file, so that one file serves several processes."""
    (router,) = list(make(tmp_path, GOOD, "--process", "3"))
    assert router.config.process == 3
    assert router.config.admin_socket.endswith("/admin-3.sock")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "[dail]\n", ["dail", "dial"]),
        (GOOD.replace('service = "home"', 'service = "office"'), ["office", "home"]),
        (GOOD.replace('"dialback"', '"none"'), ["trust.default_policy", "dialback"]),
        ("name = ", ["imxrouter.toml"]),
        (GOOD + '[log]\nfile = "/nowhere/x.log"\n', ["log.file", "/nowhere/x.log"]),
    ],
)
def test_a_bad_configuration_is_a_usage_error(tmp_path: Path, text: str, says: list[str]) -> None:
    """The text names the key and what to write instead; no traceback."""
    with pytest.raises(UsageError) as caught:
        make(tmp_path, text)
    for part in says:
        assert part in str(caught.value)


def test_a_missing_file_is_a_usage_error() -> None:
    """The path is named."""
    with pytest.raises(UsageError, match=r"/nowhere/imxrouter\.toml"):
        tap.makeService(options("--config", "/nowhere/imxrouter.toml"), reactor=still())


def test_the_quickstart_needs_nothing_and_keeps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Two users on loopback; says what to try; its folder goes when the reactor has stopped."""
    reactor = still()
    (router,) = list(tap.makeService(options("--lab"), reactor=reactor))  # type: ignore[call-overload]
    folder = Path(router.config.run_dir)
    assert folder.is_dir()
    assert router.config.lab
    assert [str(place) for place in router.config.listen.endpoints] == ["127.0.0.1:6490"]
    assert f"imxctl --socket {folder}/admin.sock send alice@home.example" in capsys.readouterr().err
    for call, arguments, keywords in reactor.triggers["after"]["shutdown"]:
        call(*arguments, **keywords)
    assert not folder.exists()


def test_twisted_finds_the_plugin() -> None:
    """By its name, with our options and our maker."""
    (maker,) = [one for one in getPlugins(IServiceMaker) if one.tapname == "imxrouter"]
    assert maker.options is tap.Options
    assert maker.makeService is tap.makeService


def test_twistd_answers_a_bad_configuration_in_a_line(tmp_path: Path) -> None:
    """The real command: exit code 1, the key and the advice, no traceback."""
    file = tmp_path / "imxrouter.toml"
    file.write_text('nmae = "x"\n')
    twistd = Path(sys.executable).with_name("twistd")
    run = subprocess.run(
        [twistd, "-n", "--pidfile=", "imxrouter", "--config", file], capture_output=True, text=True,
        check=False, cwd=tmp_path, timeout=60, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert run.returncode == 1
    said = run.stdout + run.stderr
    assert "nmae" in said
    assert "name" in said
    assert "Traceback" not in said
    assert run.stdout == ""
