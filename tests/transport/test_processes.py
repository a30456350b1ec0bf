"""Processes of a host as one: a service is logged in at one of them, and what is for it comes at another."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import ALL_CHECKS
from imxrouter.switch.ports import Role
from imxrouter.transport.processes import pieces
from imxrouter.wire.control import Close
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import encode_record
from tests.doubles.host_rig import two_processes
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, login_key, service_table

KEY = login_key(7)
SHOP = service_table("shop", KEY, "shop.example")


class House(NamedTuple):
    """Two processes of one host, and a stranger's organisation."""

    lab: Lab
    one: RouterRig
    two: RouterRig
    peer: RawOrganisation

    def service(self, at: RouterRig) -> RawPeer:
        """The service's link to one of the processes; the other one knows of it."""
        link = RawPeer.connect(at.endpoint)
        link.hello()
        assert link.log_in(KEY) == 0
        self.lab.wait_until(lambda: ports(self.one) and ports(self.two), "the service is known at both")
        return link


def ports(rig: RouterRig) -> list[Role]:
    """Whose links lead to the service."""
    return [port.role for port in rig.router.switch.routes[b"shop.example"].ports]


@pytest.fixture
def house(lab: Lab) -> House:
    """Both know each other."""
    one, two = two_processes(lab, SHOP)
    return House(lab, one, two, lab.organisation("m.example"))


def asked(link: RawPeer, text: str, number: int = 1, domain: str = "m.example") -> None:
    """A stranger's message to the shop."""
    link.send(text_message(f"eve@{domain}", "desk@shop.example", text, number))


def test_a_message_comes_to_a_service_at_another_process(house: House) -> None:
    """The peer cannot choose a process, and need not."""
    service = house.service(house.one)
    link = house.peer.proved_link(house.two)
    asked(link, "hello")
    request = service.request()
    assert b"hello" in request.body
    service.answer(request)
    assert link.outcome().ok
    assert house.two.router.federation.held == (0, 0)
    assert (ports(house.one), ports(house.two)) == ([Role.SERVICE], [Role.PROCESS])


def test_what_the_service_refuses_comes_back_in_its_words(house: House) -> None:
    """Reason and decider are the same as where it is logged in."""
    service = house.service(house.one)
    words: list[tuple[Reason, str, int]] = []
    for at, peer in ((house.one, house.peer), (house.two, house.lab.organisation("n.example"))):
        link = peer.proved_link(at)
        asked(link, "hello", len(words) + 1, peer.domain)
        service.answer(service.request(), failure(Reason.BUSY, retry_after_s=7))
        said = link.outcome()
        words.append((said.reason, said.decided_by, said.retry_after_s))
    assert words[0] == words[1]
    assert words[0][0] is Reason.BUSY


def test_a_link_of_its_own_is_used_first(house: House) -> None:
    """And when that goes, the other process's."""
    there, here = house.service(house.one), house.service(house.two)
    link = house.peer.proved_link(house.two)
    asked(link, "one", 1)
    here.answer(here.request())
    assert link.outcome().ok
    here.send(Close(0))
    here.until_closed()
    house.lab.wait_until(lambda: ports(house.two) == [Role.PROCESS], "the other process's")
    asked(link, "two", 2)
    there.answer(there.request())
    assert link.outcome().ok
    assert there.requests[0].message_id != here.requests[0].message_id


def test_without_a_link_anywhere_it_is_down(house: House) -> None:
    """Nobody passes on to a process whose service has just gone, least of all in a circle."""
    service = house.service(house.one)
    link = house.peer.proved_link(house.two)
    service.close()
    house.lab.wait_until(lambda: not ports(house.one) and not ports(house.two), "it is known everywhere")
    asked(link, "anybody there?")
    assert link.outcome().reason is Reason.SERVICE_DOWN


def test_what_was_passed_on_is_passed_on_no_further(house: House) -> None:
    """Each believes that the other one has the service: the second answers, not the first again."""
    service = house.service(house.one)

    def mistaken() -> None:
        """As in the moment between a link that went and the word of it."""
        other = house.one.router.processes._other(1)
        house.one.router.provisioner.ports_of("shop")[:] = [other.port]

    house.one.call(mistaken)
    link = house.peer.proved_link(house.two)
    asked(link, "round and round")
    assert link.outcome().reason is Reason.SERVICE_DOWN
    assert house.one.refusals(Reason.SERVICE_DOWN) == 1
    assert service.requests == []


@pytest.mark.parametrize("guarded", [True, False], ids=["with the check", "without"])
def test_another_process_relays_nothing(house: House, guarded: bool) -> None:
    """What it passes on goes to domains served here, whoever it says it is for (rule 1)."""
    house.one.router.switch.checks = replace(ALL_CHECKS, relay=guarded)
    service = house.service(house.one)
    other = house.one.router.processes._other(1)
    record = text_message("eve@m.example", "somebody@elsewhere.example", "relay this")
    house.one.call(
        lambda: house.one.router.hub.inject(other.port, encode_record(record, FLAG_RESPONSE_WANTED, 9))
    )
    assert house.one.refusals(Reason.RELAY_DENIED) == guarded
    assert service.requests == []


def test_a_sender_is_counted_once(house: House) -> None:
    """His rate is that of the process where he came in; he is not counted again where the service is."""
    service = house.service(house.one)
    link = house.peer.proved_link(house.two)
    asked(link, "hello")
    service.answer(service.request())
    assert link.outcome().ok
    assert b"eve@m.example" in house.two.router.rates.arrivals
    assert b"eve@m.example" not in house.one.router.rates.arrivals


def test_services_of_two_processes_write_to_each_other(house: House) -> None:
    """A message from a service here to one there needs no link between routers."""
    service = house.service(house.one)
    service.send(text_message("desk@shop.example", "desk@shop.example", "to myself"))
    service.answer(service.request())
    assert service.outcome().ok


def test_a_process_that_dies_leaves_nothing_open(house: House) -> None:
    """What it had is in doubt, at once, and the service is down until it is back."""
    service = house.service(house.one)
    link = house.peer.proved_link(house.two)
    asked(link, "and then it died")
    service.request()
    house.two.call(lambda: house.two.router.bus.on_lost(0))
    outcome = link.outcome()
    assert outcome.in_doubt
    assert ports(house.two) == []
    house.lab.wait_until(lambda: ports(house.two) == [Role.PROCESS], "it says again what it has")


# -- a drain -------------------------------------------------------------------------------------------------


def test_no_process_closes_before_nothing_new_can_come_at_any(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that crosses the word to stop at one process reaches the service at another."""
    monkeypatch.setattr("imxrouter.transport.draining.FENCE_S", 3.0)
    service = house.service(house.one)
    link = house.peer.proved_link(house.two)
    link.answers_pings = False
    house.one.call(lambda: house.one.router.draining.drain(20.0))
    link.until_told_to_stop()
    service.until_told_to_stop()
    service.drain()
    house.lab.wait_until(lambda: house.one.router.drain.ready, "all that the service sent is read")
    assert not house.two.router.drain.ready
    asked(link, "sent before I knew")
    request = service.request()
    assert not any(isinstance(item, Close) for item in service.log)
    service.answer(request)
    assert link.outcome().ok
    assert link.find(Close).reason == Reason.SHUTTING_DOWN.code
    service.find(Close)


def test_a_process_that_does_not_run_is_named(house: House) -> None:
    """And is not called drained: `imxctl drain --wait` waits for it."""
    house.one.router.host.numbers = range(3)
    wanted = {"0": "running", "1": "running", "2": "absent"}
    house.lab.wait_until(
        lambda: house.one.router.draining.view()["processes"] == wanted, "all say how they are"
    )
    house.one.call(lambda: house.one.router.draining.drain(0.5))
    wanted.update({"0": "drained", "1": "drained"})
    house.lab.wait_until(
        lambda: house.one.router.draining.view()["processes"] == wanted, "all that are there"
    )


# -- pieces --------------------------------------------------------------------------------------------------


def test_pieces_are_whole_records() -> None:
    """However the bound falls; a longer one goes alone."""
    records = [bytes(3) + bytes([size]) + bytes(size) for size in (10, 20, 200, 5, 5)]
    data = b"".join(records)
    assert list(pieces(data, 1000)) == [data]
    assert list(pieces(data, 40)) == [records[0] + records[1], records[2], records[3] + records[4]]
    assert b"".join(pieces(data, 1)) == data
    assert list(pieces(b"", 1)) == [b""]
