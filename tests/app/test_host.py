"""What concerns a host reaches all of its processes, and names each."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from imxrouter.app.draining import DRAIN
from imxrouter.app.host import ABSENT
from imxrouter.cli.exits import Exit
from tests.doubles.authority import DAY
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.host_rig import one_file, two_processes
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, RouterRig, authority, login_key, service_table

TABLES = service_table("shop", login_key(7), "shop.example")
WORD = "it does not run; it reads the f"


def _days() -> dict[str, float]:
    """A certificate's time: from yesterday until tomorrow."""
    now = time.time()
    return {"not_before": now - DAY, "not_after": now + DAY}


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with one certificate, and its authority beside it."""
    authority().issue("shop.example", **_days()).write(tmp_path / "c", "a")
    return tmp_path / "c"


@pytest.fixture
def pair(lab: Lab, certificates: Path) -> tuple[RouterRig, RouterRig]:
    """Two processes that know each other; a third one is configured and does not run."""
    one, two = two_processes(
        lab, TABLES, tls_certificates=str(certificates), tls_watch_s=0,
        tls_trust=[str(authority().issued.write(certificates.parent, "root"))],
    )  # fmt: skip
    for rig in (one, two):
        rig.router.host.numbers = range(3)
    lab.wait_until(lambda: one.router.bus.peers() == {1}, "they are on one bus")
    return one, two


def names(rig: RouterRig) -> list[list[str]]:
    """Of its certificates."""
    return [one["names"] for one in ctl_json(rig, "certs")["certificates"]]


def test_certificates_are_read_by_every_process(
    pair: tuple[RouterRig, RouterRig], certificates: Path
) -> None:
    """Whichever is asked; the one that does not run is named."""
    one, two = pair
    authority().issue("b.example", **_days()).write(certificates, "b")
    view = ctl_json(two, "certs", "reload")
    results = [(process["process"], process["result"]) for process in view["processes"]]
    assert results == [(0, "swapped"), (1, "swapped"), (2, ABSENT)]
    assert names(one) == names(two) == [["shop.example"], ["b.example"]]


def test_what_another_process_refuses_is_told(pair: tuple[RouterRig, RouterRig], certificates: Path) -> None:
    """With its number and why, and the exit code of a failure."""
    one, two = pair
    two.call(lambda: setattr(two.router.certificates, "_folder", certificates.parent / "nowhere"))
    told = ctl(one, "certs", "reload")
    assert told.exit_code == Exit.FAILED
    assert "process 0: unchanged" in told.output
    assert "process 1: refused: " in told.output
    assert f"process 2: absent: {WORD}" in told.output


def test_a_process_that_says_nothing_is_told(
    pair: tuple[RouterRig, RouterRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no success of a host."""
    one, two = pair
    monkeypatch.setattr("imxrouter.app.trust.certificates_everywhere.PROCESS_S", 0.2)
    two.call(lambda: two.router.handover.asked.update({"certs-reload": lambda _payload, _reply: None}))
    told = ctl(one, "certs", "reload")
    assert told.exit_code == Exit.FAILED
    assert "process 1: failed: it gave no answer" in told.output


def test_the_configuration_is_read_by_every_process(pair: tuple[RouterRig, RouterRig]) -> None:
    """Without `workers`, too: who started them does not matter."""
    one, two = pair
    file = one_file(one, two).edit(also="\n", before="limits.sender_rate_per_s = 3\n")
    view = file.reload()
    results = [(process["process"], process["result"]) for process in view["processes"]]
    assert results == [(0, "applied"), (1, "applied"), (2, ABSENT)]
    assert [rig.router.config.limits.sender_rate_per_s for rig in pair] == [3.0, 3.0]


def test_a_process_with_a_file_of_its_own_is_told_apart(pair: tuple[RouterRig, RouterRig]) -> None:
    """It is not touched, keeps nobody from reloading, and is named."""
    one, two = pair
    Reloadable(two)
    view = Reloadable(one).edit(also="\n", before="limits.sender_rate_per_s = 3\n").reload()
    assert [process["result"] for process in view["processes"]] == ["applied", "apart", ABSENT]
    assert two.router.config.limits.sender_rate_per_s != 3.0


def test_each_process_is_named(
    lab: Lab, pair: tuple[RouterRig, RouterRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host is in service, and where one is waited for that does not run."""
    one, _ = pair
    lab.wait_until(lambda: one.router.draining.view()["processes"]["1"] == "running", "it said how it is")
    assert "no, in service, process 2 absent" in ctl(one, "status").output
    monkeypatch.setattr("imxrouter.cli.drain._PATIENCE_S", 0.3)
    waited = ctl(one, "drain", "--deadline", "0", "--wait")
    assert waited.exit_code == Exit.FAILED
    assert "process 0 drained, process 1 drained, process 2 absent" in waited.output


def test_all_are_back_when_undrain_says_so(pair: tuple[RouterRig, RouterRig]) -> None:
    """It waits until each has said it."""
    one, two = pair
    for rig in pair:
        rig.router.host.numbers = range(2)
    assert ctl_json(one, "drain", "--wait")["processes"] == {"0": "drained", "1": "drained"}
    assert ctl_json(two, "undrain")["processes"] == {"0": "running", "1": "running"}
    assert [rig.router.drain.state.value for rig in pair] == ["running", "running"]


def test_what_was_asked_before_is_not_followed_after(pair: tuple[RouterRig, RouterRig]) -> None:
    """A process may read from the store that it is to drain after it was told that it is to come back."""
    one, two = pair
    for rig in pair:
        rig.router.host.numbers = range(2)
    ctl_json(one, "drain", "--wait")
    before = one.call(lambda: one.router.store.get(DRAIN, b"wanted"))
    ctl_json(two, "undrain")
    after = two.call(lambda: two.router.store.get(DRAIN, b"wanted"))
    assert before is not None
    two.call(lambda: two.router.store.put(DRAIN, b"wanted", before))
    two.call(lambda: two.router.draining.told(before))
    assert ctl_json(two, "status")["drain"]["processes"] == {"0": "running", "1": "running"}
    assert two.call(lambda: two.router.store.get(DRAIN, b"wanted")) == after != before


def test_undrain_names_who_is_not_back(
    pair: tuple[RouterRig, RouterRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code of a failure."""
    one, two = pair
    for rig in pair:
        rig.router.host.numbers = range(2)
    ctl_json(one, "drain", "--wait")
    monkeypatch.setattr("imxrouter.cli.drain._BACK_S", 0.3)
    two.call(lambda: setattr(two.router.draining, "_stopping", True))
    told = ctl(one, "undrain")
    assert told.exit_code == Exit.FAILED
    assert "no, in service, process 1 drained" in told.output
