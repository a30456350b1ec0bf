"""What an operator changes of the served domains holds over restarts, and for all processes of a router."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imxrouter.app.served.run_time_domains import DOMAINS, RunTimeDomains
from imxrouter.cli.exits import Exit
from imxrouter.model.domain import Domain
from imxrouter.routing.domains import DomainState, ServedDomain, ServedDomains
from imxrouter.routing.interfaces import StoreChange
from imxrouter.store.memory import MemoryStore
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.full_disk import fill_disk
from tests.doubles.router_rig import Lab, RouterRig

A, B, C, X = (Domain(f"{name}.example") for name in "abcx")
SERVICES = frozenset({"home", "other"})


class SharedStore(MemoryStore):
    """A process's view of a store that others use as well; they are told at once."""

    def __init__(self, others: list[SharedStore]) -> None:
        super().__init__(lambda: 0.0)
        self._others = others
        self._watchers: list[StoreChange] = []
        others.append(self)

    def watch(self, table: str, changed: StoreChange) -> None:
        """Tell what others put into the only table there is."""
        assert table == DOMAINS
        self._watchers.append(changed)

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """Put it everywhere."""
        for other in self._others:
            MemoryStore.put(other, table, key, value, expires_at, durable=durable)
            if other is not self:
                for watcher in other._watchers:
                    watcher(key, value, expires_at)
        return True


class Life:
    """One life of a process: what its file says, changed as the store says."""

    def __init__(self, store: MemoryStore, *file: ServedDomain, services: frozenset[str] = SERVICES) -> None:
        self.domains = ServedDomains()
        self.domains.replace_all(file)
        self.kept = RunTimeDomains(self.domains, store, services)
        self.kept.begin()

    def add(self, record: ServedDomain) -> None:
        """As `imxctl domains add`."""
        assert self.kept.keep(self.domains.add(record))

    def change(self, record: ServedDomain) -> None:
        """As `imxctl domains change`."""
        assert self.kept.keep(self.domains.change(record))

    def remove(self, name: Domain) -> None:
        """As `imxctl domains remove`."""
        assert self.kept.keep(self.domains.remove(name))

    def served(self) -> set[ServedDomain]:
        """All of them."""
        return set(self.domains)


def of(name: Domain, **more: Any) -> ServedDomain:
    """A served domain."""
    return ServedDomain(name, "home", **more)


@pytest.fixture
def store() -> MemoryStore:
    """What lives on."""
    return MemoryStore(lambda: 0.0)


def test_changes_hold_after_a_restart(store: MemoryStore) -> None:
    """Added, changed, suspended and removed, in several lives, with every field."""
    first = Life(store, of(A), of(B))
    whole = of(
        C, aliases=(X,), tenant="customer", policy="dialback+tls", max_message_bytes=1000, sender_burst=3,
        types=frozenset({0x0100, 0x7000}), content_types=("text/plain",), attributes=(("hours", "0-24"),),
        hidden_attributes=("hours",), abuse_contact="mailto:abuse@c.example",
    )  # fmt: skip
    first.add(whole)
    first.change(of(A, state=DomainState.SUSPENDED))
    first.remove(B)
    second = Life(store, of(A), of(B))
    assert second.served() == {whole, of(A, state=DomainState.SUSPENDED)}
    assert [second.kept.is_kept(name) for name in (A, B, C, X)] == [True, True, True, False]
    second.change(of(A, tenant="t"))
    second.remove(C)
    second.add(of(B, tenant="again"))
    assert Life(store, of(A), of(B)).served() == {of(A, tenant="t"), of(B, tenant="again")}


def test_what_is_as_in_the_file_again_is_no_change(store: MemoryStore) -> None:
    """It is forgotten with the next start, so that the file alone says it."""
    first = Life(store, of(A))
    first.change(of(A, state=DomainState.SUSPENDED))
    first.change(of(A))
    first.add(of(B))
    first.remove(B)
    second = Life(store, of(A))
    assert second.served() == {of(A)}
    assert not store.items(DOMAINS)


@pytest.mark.parametrize("file", [[of(A, tenant="new")], []])
def test_a_file_that_says_something_new_holds(store: MemoryStore, file: list[ServedDomain]) -> None:
    """Of that domain, once and for all; what was changed of others stays."""
    first = Life(store, of(A), of(B))
    first.change(of(A, tenant="by hand"))
    first.change(of(B, tenant="by hand"))
    assert Life(store, *file, of(B)).served() == {*file, of(B, tenant="by hand")}
    assert Life(store, of(A), of(B)).served() == {of(A), of(B, tenant="by hand")}


def test_the_file_keeps_its_names(store: MemoryStore) -> None:
    """It gives a name to another domain that was given at run time: the file holds."""
    first = Life(store, of(A))
    first.add(of(B, aliases=(X,)))
    second = Life(store, of(A, aliases=(X,)))
    assert second.served() == {of(A, aliases=(X,))}


def test_a_name_may_go_from_one_to_the_other(store: MemoryStore) -> None:
    """Whatever the order in which they are read."""
    for before, after in ((A, B), (B, A)):
        first = Life(store, of(before, aliases=(X,)), of(after))
        first.change(of(before))
        first.change(of(after, aliases=(X,)))
        second = Life(store, of(before, aliases=(X,)), of(after))
        assert second.served() == {of(before), of(after, aliases=(X,))}


def test_a_service_that_is_gone(store: MemoryStore) -> None:
    """The domain waits for it; nothing else is disturbed."""
    first = Life(store, of(A))
    first.add(replace(of(B), service="other"))
    first.add(of(C))
    without = Life(store, of(A), services=frozenset({"home"}))
    assert without.served() == {of(A), of(C)}
    assert Life(store, of(A)).served() == {of(A), of(C), replace(of(B), service="other")}


def test_a_service_that_got_another_name(store: MemoryStore) -> None:
    """The file says it of the domain, so it holds, though the old name says nothing any more."""
    first = Life(store, replace(of(A), service="other"))
    first.change(replace(of(A), service="other", tenant="by hand"))
    assert Life(store, of(A), services=frozenset({"home"})).served() == {of(A)}
    assert not store.items(DOMAINS)


@pytest.mark.parametrize(
    "value", [b"", b"[]", b'{"file": null, "now": {"name": "b.example"}}',
              b'{"file": null, "now": {"name": "c.example", "service": "home"}}',
              b'{"file": null, "now": {"name": "b.example", "service": "home", "max_message_bytes": "x"}}'],
)  # fmt: skip
def test_what_cannot_be_read_is_left_aside(store: MemoryStore, value: bytes) -> None:
    """And written anew by the next change."""
    store.put(DOMAINS, B.wire, value)
    life = Life(store, of(A))
    assert life.served() == {of(A)}
    life.add(of(B))
    assert Life(store, of(A)).served() == {of(A), of(B)}


def test_a_key_that_is_no_domain_is_dropped(store: MemoryStore) -> None:
    """Nobody could ask for it."""
    store.put(DOMAINS, b"\xff", b'{"file": null, "now": null}')
    assert Life(store, of(A)).served() == {of(A)}
    assert not store.items(DOMAINS)


def test_processes_follow_each_other() -> None:
    """Each change at one is a change at the other."""
    stores: list[SharedStore] = []
    one, two = (Life(SharedStore(stores), of(A), of(B, aliases=(X,))) for _ in range(2))
    one.add(of(C))
    assert two.served() == one.served()
    two.change(of(C, tenant="t"))
    two.change(of(B))
    two.change(of(A, aliases=(X,)))
    assert one.served() == two.served() == {of(A, aliases=(X,)), of(B), of(C, tenant="t")}
    one.remove(C)
    assert two.served() == one.served()


def test_a_name_that_is_not_free_yet_is_waited_for() -> None:
    """Changes of two domains can arrive in another order."""
    stores: list[SharedStore] = []
    one, two = (Life(SharedStore(stores), of(A), of(B, aliases=(X,))) for _ in range(2))
    (hear,) = stores[1]._watchers
    late: list[tuple[bytes, bytes | None, float | None]] = []
    stores[1]._watchers[:] = [lambda *change: late.append(change)]
    one.change(of(B))
    one.change(of(A, aliases=(X,)))
    for change in reversed(late):
        hear(*change)
    assert two.served() == one.served() == {of(A, aliases=(X,)), of(B)}


# -- whole routers -------------------------------------------------------------------------------------------


def sent(rig: RouterRig, to: str) -> bool:
    """Whether a message of b's user arrives."""
    return ctl(rig, "send", "bob@b.example", to, "hello").exit_code == Exit.OK


def test_a_restart_serves_what_was_added(lab: Lab) -> None:
    """And claims, answers and suspends as before it."""
    state = {"state_dir": str(lab.folder / "state-of-a")}
    a, b = lab.router("a.example", "red.example", settings=state), lab.router("b.example")
    lab.publish("new.example", a.endpoint)
    assert ctl_json(a, "domains", "add", "new.example", "--service", "home")["kept"]
    assert ctl(a, "domains", "suspend", "red.example").exit_code == Exit.OK
    assert sent(b, "alice@new.example")
    a.stop()
    lab.wait_until(lambda: a.router.store.health().problem.value == "closed", "the end of the old one")
    a = lab.router("a.example", "red.example", endpoint=a.endpoint, settings=state)
    listed = {row["name"]: row for row in ctl_json(a, "domains")}
    assert {name: (row["state"], row["as_in_file"]) for name, row in listed.items()} == {
        "a.example": ("active", True), "red.example": ("suspended", False), "new.example": ("active", False),
    }  # fmt: skip
    assert "changed at run time" in ctl(a, "domains").output
    assert sent(b, "alice@new.example")
    assert sent(b, "alice@a.example")
    assert not sent(b, "alice@red.example")


def test_processes_of_one_router_serve_alike(lab: Lab) -> None:
    """Within a second or two, whichever was told."""
    shared = {"state_dir": str(lab.folder / "state-of-a"), "listen.reuse_port": True}
    one = lab.router("a.example", settings={**shared, "process": 0})
    two = lab.router("a.example", settings={**shared, "process": 1})
    ctl(one, "domains", "add", "new.example", "--service", "home")
    lab.wait_until(lambda: Domain("new.example") in two.router.domains, "the other process to serve it")
    ctl(two, "domains", "remove", "new.example")
    lab.wait_until(lambda: Domain("new.example") not in one.router.domains, "the other process to end it")


def test_a_change_that_a_full_disk_does_not_take(lab: Lab) -> None:
    """Holds, and its author is told that a restart would lose it."""
    a = lab.router("a.example")
    fill_disk(lab, a)
    said = ctl(a, "domains", "suspend", "a.example")
    assert said.exit_code == Exit.OK
    assert "active -> suspended" in said.output
    assert "not written yet: a restart would lose it" in said.stderr
    assert "suspended" in ctl(a, "domains").output


def test_a_domain_is_changed_while_it_is_served(lab: Lab) -> None:
    """Aliases are served and go, a smaller size holds at once, a policy comes and goes."""
    a, b = lab.router("a.example"), lab.router("b.example")
    lab.publish("www.a.example", a.endpoint)
    change = ("domains", "change", "a.example")
    diff = ctl_json(a, *change, "--alias", "www.a.example", "--max-message-bytes", "1000")
    assert diff["after"] == {"aliases": ["www.a.example"], "max_message_bytes": 1000}
    sent = ctl(b, "send", "bob@b.example", "alice@www.a.example", "short")
    assert sent.exit_code == Exit.OK, sent.output
    assert "too-large" in ctl(b, "send", "bob@b.example", "alice@a.example", "x" * 6000).output
    assert ctl_json(a, *change, "--no-aliases", "--max-message-bytes", "0")["after"]["aliases"] == []
    assert ctl(b, "send", "bob@b.example", "alice@a.example", "x" * 6000).exit_code == Exit.OK
    assert "relay-denied" in ctl(b, "send", "bob@b.example", "alice@www.a.example", "x").output

    assert "policy: - -> dialback+tls" in ctl(a, *change, "--policy", "dialback+tls").output
    assert "weaker-than-policy" in ctl(b, "send", "bob@b.example", "alice@a.example", "x").output
    assert "policy: dialback+tls -> -" in ctl(a, *change, "--no-policy").output
    assert ctl(b, "send", "bob@b.example", "alice@a.example", "x").exit_code == Exit.OK
    assert ctl(a, *change, "--policy", "none").exit_code == Exit.USAGE


# -- another file --------------------------------------------------------------------------------------------


def planned(life: Life, services: frozenset[str] = SERVICES, **file: ServedDomain | None) -> dict[str, str]:
    """Take a file that says something new of these domains (by their first letter); tells what is dropped."""
    changed = {f"{letter}.example": record for letter, record in file.items()}
    plan = life.kept.plan(changed, services)
    life.kept.commit(plan)
    return plan.dropped


def test_the_file_in_force_is_told_without_what_changed_since(store: MemoryStore) -> None:
    """So that a new file can be compared with it."""
    life = Life(store, of(A), of(B))
    life.change(of(A, tenant="t"))
    life.remove(B)
    life.add(of(C))
    assert set(life.kept.in_file()) == {of(A), of(B)}


def test_a_new_file_changes_what_it_says_and_nothing_else(store: MemoryStore) -> None:
    """Domains changed at run time stay, unless it is about them."""
    life = Life(store, of(A), of(B))
    life.change(of(A, tenant="t"))
    life.add(of(C))
    assert planned(life, b=of(B, tenant="new")) == {}
    assert life.served() == {of(A, tenant="t"), of(B, tenant="new"), of(C)}
    dropped = planned(life, a=of(A, tenant="file"), c=None)
    assert dropped == dict.fromkeys(
        ("a.example", "c.example"), "the file says something new of it, and holds"
    )
    assert life.served() == {of(A, tenant="file"), of(B, tenant="new")}
    assert not store.items(DOMAINS)
    assert Life(store, *life.served()).served() == life.served()


def test_a_name_that_the_file_gives_away_is_lost(store: MemoryStore) -> None:
    """The domain is as in the file then; one that was added at run time goes."""
    life = Life(store, of(A), of(B))
    life.change(of(A, aliases=(X,)))
    assert planned(life, b=of(B, aliases=(X,))) == {"a.example": "the file gives x.example to b.example"}
    assert life.served() == {of(A), of(B, aliases=(X,))}
    life.add(of(C))
    assert planned(life, b=of(B, aliases=(C,))) == {"c.example": "the file gives c.example to b.example"}
    assert life.served() == {of(A), of(B, aliases=(C,))}


def test_a_service_that_goes_takes_its_domains_of_run_time_along(store: MemoryStore) -> None:
    """What the file has of them is served again."""
    life = Life(store, of(A))
    life.change(ServedDomain(A, "other"))
    life.add(ServedDomain(B, "other"))
    dropped = planned(life, frozenset({"home"}))
    assert dropped == dict.fromkeys(("a.example", "b.example"), "no service 'other' is configured any more")
    assert life.served() == {of(A)}
