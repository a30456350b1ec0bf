"""A configuration that is read again by a router that runs: what it changes, and what it does not touch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Claim, ClaimResult, Proof, Verify, VerifyResult
from tests.doubles.authority import DAY, Authority
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import SOME_NONCE, SOME_TOKEN, RawPeer
from tests.doubles.reload_rig import Reloadable, lines
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table


def links(rig: RouterRig) -> list[int]:
    """Numbers of the links, in order."""
    return sorted(one.number for one in rig.sessions())


def metric(rig: RouterRig, result: str) -> float:
    """How many reloads ended so."""
    value = rig.router.metrics.registry.get_sample_value("imxrouter_config_reloads_total", {"result": result})
    return value or 0.0


def test_the_same_file_changes_nothing(lab: Lab) -> None:
    """Also with a domain that was changed at run time: the file says nothing new of it."""
    a = lab.router("a.example", "c.example")
    file = Reloadable(a)
    before = file.state()
    assert ctl(a, "domains", "suspend", "c.example").exit_code == 0
    view = file.reload(result="unchanged")
    assert (view["changes"], view["links"], view["notes"]) == ([], [], [])
    record = a.router.domains.get(Domain("c.example"))
    assert record is not None
    assert record.suspended
    assert {**before, "domains": None} == {**file.state(), "domains": None}
    assert metric(a, "unchanged") == 1


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_wrong_file_changes_nothing(lab: Lab, dry_run: bool) -> None:
    """Every problem as `config check` says it; the old one stays, and log and metric say so."""
    a = lab.router("a.example")
    file = Reloadable(a).edit(before="links.pings_s = 3\ndial.hold_s = -1\n")
    before = file.state()
    view = file.reload(dry_run=dry_run, result="refused")
    assert [one["path"] for one in view["problems"]] == ["links.pings_s", "dial.hold_s"]
    assert file.state() == before
    assert metric(a, "refused") == (0 if dry_run else 1)
    result = ctl(a, "config", "reload", *(["--dry-run"] if dry_run else []))
    checked = ctl(a, "config", "check", str(a.file))
    assert (result.exit_code, checked.exit_code) == (3, 3)
    assert checked.stderr.splitlines() == result.stderr.splitlines()
    assert "nothing was changed" in result.stdout


def test_a_file_that_is_gone_changes_nothing(lab: Lab) -> None:
    """As any other that cannot be read."""
    a = lab.router("a.example")
    file = Reloadable(a)
    a.file.unlink()
    view = file.reload(result="refused")
    assert "cannot be read" in view["problems"][0]["what"]


def test_a_part_that_cannot_take_it_keeps_all_others_as_they_are(lab: Lab) -> None:
    """Whatever the others had prepared by then."""
    a = lab.router("a.example")
    file = Reloadable(a).edit(before='links.max_hops = 9\nlog.level = "debug"\ntrust.remember_days = 3\n')

    def refuse(*_: object) -> None:
        raise RouterError("the disk is full")

    owners = a.router.reloading.owners
    owners.append(refuse)
    before = file.state()
    view = file.reload(result="failed")
    assert view["problems"][0]["what"] == "the disk is full"
    assert file.state() == before
    assert a.router.switch.max_hops == before["config"].links.max_hops
    assert metric(a, "failed") == 1
    owners.remove(refuse)
    file.reload()
    assert a.router.switch.max_hops == 9


def test_what_waits_for_a_restart_may_not_contradict_what_does_not(lab: Lab) -> None:
    """A message that is larger than the old record would be: nothing is changed, and why is said."""
    a = lab.router("a.example")
    file = Reloadable(a).edit(before="limits.max_message_bytes = 200000\nlinks.max_record_bytes = 300000\n")
    view = file.reload(result="failed")
    assert "links.max_record_bytes" in view["problems"][0]["path"]
    assert "restart the router" in view["problems"][0]["do"]
    assert file.config.limits.max_message_bytes == 16384


def test_a_dry_run_tells_and_changes_nothing(lab: Lab) -> None:
    """The links concerned, domains, what waits for a restart; afterwards the reload does exactly that."""
    a, b = lab.router("a.example", "c.example"), lab.router("b.example")
    file = Reloadable(a)
    for name in ("a.example", "c.example"):
        assert a.send(f"alice@{name}", "bob@b.example").outcome().ok
    before = file.state()
    file.edit(
        ('name = "c.example"\nservice = "home"\n', 'name = "d.example"\nservice = "home"\n'),
        ("links.ping_s = 1.0\n", "links.ping_s = 1.5\nworkers = 2\n"),
    )
    told = file.reload(dry_run=True)
    assert file.state() == before
    assert lines(told) == [
        "~   workers: at a restart", "~ links  ping_s: to new links", "- domain c.example : at once",
        "+ domain d.example : at once",
    ]  # fmt: skip
    assert told["domains"] == {"added": 1, "removed": 1, "changed": 0}
    assert {one["what"] for one in told["links"]} == {"c.example ends on it"}
    shown = ctl(a, "config", "reload", "--dry-run")
    assert shown.exit_code == 0
    assert "a reload would apply 3 change(s); 1 wait for a restart" in shown.stdout
    done = file.reload()
    assert {**done, "dry_run": True} == told
    assert set(links(a)) == before["links"]
    assert file.config.workers == 1
    assert file.config.links.ping_s == 1.5
    assert lines(file.reload(result="unchanged")) == ["~   workers: at a restart"]
    (workers,) = (one for one in ctl_json(a, "config", "show")["settings"] if one["key"] == "workers")
    assert (workers["value"], workers["source"], workers["waits"]) == ("1", "default", True)
    assert b.send("bob@b.example", "alice@c.example").outcome().reason is Reason.RELAY_DENIED


def test_one_domain_of_500_changes_and_no_link_of_the_others_feels_it(lab: Lab) -> None:
    """500 domains of 50 tenants, each with a claim on a shared link; one is taken out of the file."""
    tables = "".join(
        f'[[domain]]\nname = "d{number}.hoster.example"\nservice = "home"\ntenant = "t{number % 50}"\n'
        for number in range(500)
    )
    at_once = {f"caps.verify_per_{what}": 100_000 for what in ("source_per_minute", "zone_per_minute", "s")}
    a, b = lab.router("hoster.example", tables=tables), lab.router("b.example", settings=at_once)
    file = Reloadable(a)
    names = [f"d{number}.hoster.example" for number in range(50)]
    for name in names:
        lab.publish(name, a.endpoint)
        assert a.send(f"alice@{name}", "bob@b.example").outcome().ok
    before, there = links(a), links(b)
    entry = '[[domain]]\nname = "{}"\nservice = "home"\ntenant = "{}"\n'
    file.edit(
        (entry.format(names[7], "t7"), ""), (entry.format(names[8], "t8"), entry.format(names[8], "other"))
    )
    view = file.reload()
    assert lines(view) == [f"- domain {names[7]} : at once", f"~ domain {names[8]} tenant: at once"]
    assert [one["what"] for one in view["links"]] == [f"{names[7]} ends on it"] * len(view["links"])
    lab.wait_until(lambda: names[7].encode() not in b.router.switch.ways, "the end")
    assert {name for name in names if b.proved(name) == 1} == set(names) - {names[7]}
    for name in set(names) - {names[7]}:
        assert a.send(f"bob@{name}", "bob@b.example").outcome().ok
    assert (links(a), links(b)) == (before, there)
    assert len(a.router.domains) == 500


def test_the_file_wins_where_it_says_something_new(lab: Lab) -> None:
    """Of a domain changed at run time; another one stays as it was changed, and one added at run time too."""
    a = lab.router("a.example", "c.example", "d.example")
    file = Reloadable(a)
    for words in (
        ("suspend", "c.example"), ("suspend", "d.example"), ("add", "e.example", "--service", "home"),
    ):  # fmt: skip
        assert ctl(a, "domains", *words).exit_code == 0
    file.edit(('name = "c.example"\n', 'name = "c.example"\ntenant = "new"\n'))
    view = file.reload()
    assert view["notes"] == [
        "c.example: what was changed at run time goes: the file says something new of it, and holds"
    ]
    states = {row["name"]: (row["state"], row["as_in_file"]) for row in ctl_json(a, "domains")}
    assert states == {
        "a.example": ("active", True), "c.example": ("active", True), "d.example": ("suspended", False),
        "e.example": ("active", False),
    }  # fmt: skip
    file.reload(result="unchanged")


def test_services_come_and_go_and_the_links_of_others_stay(lab: Lab) -> None:
    """A key that is another, a service that is gone: its links close in order, others' do not."""
    keys = {name: login_key(number) for number, name in enumerate(("one", "two", "three"), 1)}
    tables = {name: service_table(name, key, f"{name}.example") for name, key in keys.items()}
    hub = lab.router(
        "a.example", settings={"lab": True}, tables=tables["one"] + tables["two"] + tables["three"]
    )
    file = Reloadable(hub)
    there: dict[str, RawPeer] = {}
    for name, key in keys.items():
        there[name] = RawPeer.connect(hub.endpoint)
        there[name].hello()
        assert there[name].log_in(key) == 0
    of = {one.service: one.number for one in hub.sessions()}
    new = login_key(9)
    old_key, new_key = (key.public_key().public_bytes_raw().hex() for key in (keys["two"], new))
    extra = service_table("four", login_key(4), "four.example")
    view = file.edit((old_key, new_key), (tables["three"], ""), also=extra).reload()
    assert {one["link"] for one in view["links"]} == {of["two"], of["three"]}
    lab.wait_until(lambda: {one.service for one in hub.router.hub.sessions.values()} == {"one"}, "the ends")
    assert links(hub) == [of["one"]]
    for name, key, result in (("two", keys["two"], False), ("two", new, True), ("four", login_key(4), True)):
        peer = RawPeer.connect(hub.endpoint)
        peer.hello()
        assert (peer.log_in(key) == 0) is result, name
        there[name] = peer
    sent = hub.send("alice@a.example", "x@four.example")
    there["four"].answer(there["four"].request())
    assert sent.outcome().ok
    assert hub.send("alice@a.example", "x@three.example").outcome().reason is not Reason.NONE
    for peer in there.values():
        peer.close()


def test_an_alias_passes_from_one_domain_to_another(lab: Lab) -> None:
    """In either direction of the file, in one step: it is served all the time."""
    given, other = (
        '[[domain]]\nname = "p.example"\nservice = "home"\n',
        'name = "q.example"\nservice = "home"\n',
    )
    alias = 'aliases = ["x.example"]\n'
    a = lab.router("a.example", tables=f"{given}{alias}[[domain]]\n{other}")
    file = Reloadable(a)
    for aliases, home in ((("", alias), "q.example"), ((alias, ""), "p.example")):
        file.text = file.text.replace(alias, "").replace(given, given + aliases[0])
        file.text = file.text.replace(other, other + aliases[1])
        file.edit()
        file.reload()
        record = a.router.domains.get(Domain("x.example"))
        assert record is not None
        assert record.name.name == home
        assert a.send("alice@a.example", "alice@x.example").outcome().ok


def test_users_of_an_embedded_service_come_and_go(lab: Lab) -> None:
    """And a whole service: added, put aside, and there again."""
    a = lab.router("a.example", users=["alice", "bob"])
    file = Reloadable(a).edit(('["alice", "bob"]', '["alice", "carol"]'))
    file.reload()
    assert a.send("alice@a.example", "carol@a.example").outcome().ok
    assert a.send("alice@a.example", "bob@a.example").outcome().reason is Reason.NOT_DELIVERED
    more = '[[service]]\nname = "more"\nkind = "embedded"\nusers = ["dora"]\n'
    more += '[[domain]]\nname = "more.example"\nservice = "more"\n'
    for _ in range(2):
        file.edit(also=more).reload()
        assert a.send("alice@a.example", "dora@more.example", "here").outcome().ok
        assert a.inbox("dora@more.example")[-1] == ("alice@a.example", "here")
        file.edit((more, "")).reload()
        assert not a.send("alice@a.example", "dora@more.example").outcome().ok
    assert len(a.router.embeddings._aside) == 1


def test_who_may_see_presence_by_default_is_obeyed_at_once(lab: Lab) -> None:
    """By the service itself and by each of its accounts."""
    a = lab.router("a.example", users=["alice", "bob"])
    file = Reloadable(a)
    assert a.router.embedded["home"].defaults.presence.value == "ask"
    file.edit(('kind = "embedded"\n', 'kind = "embedded"\npresence = "open"\n')).reload()
    assert a.router.embedded["home"].defaults.presence.value == "open"
    assert a.call(lambda: a.router.embedded_for(Address.parse("bob@a.example"))) is a.router.embedded["home"]


def test_a_policy_that_is_raised_ends_proofs_at_once(lab: Lab) -> None:
    """Of that domain, on links that either side opened; others on the same router stay (rule 3)."""
    a, b, c = (lab.router(f"{name}.example") for name in "abc")
    file = Reloadable(a)
    for one, ours in ((b, "b"), (c, "c")):
        assert one.send(f"bob@{ours}.example", "alice@a.example").outcome().ok
        assert a.send("alice@a.example", f"bob@{ours}.example").outcome().ok
    mine = {tuple(one.port.sources): one.number for one in a.sessions() if one.port.sources}
    policy = '[[trust.peer]]\ndomain = "b.example"\npolicy = "dialback+tls"\n'
    view = file.edit(also=policy).reload()
    assert all("b.example" in one["what"] for one in view["links"])
    assert view["links"]
    assert not any(b"b.example" in one.port.sources for one in a.sessions())
    assert b"b.example" not in a.router.switch.ways
    assert mine[(b"c.example",)] in links(a)
    assert a.send("alice@a.example", "bob@b.example").outcome().reason is Reason.WEAKER_THAN_POLICY
    assert not b.send("bob@b.example", "alice@a.example").outcome().ok
    assert c.send("bob@c.example", "alice@a.example").outcome().ok
    assert a.send("alice@a.example", "bob@c.example").outcome().ok
    file.edit((policy, "")).reload()
    assert a.send("alice@a.example", "bob@b.example").outcome().ok


def test_a_pin_that_moves_is_followed(lab: Lab) -> None:
    """The link to the old address is used for it no more; that of another peer stays."""
    a, b, moved, c = (lab.router(name) for name in ("a.example", "b.example", "b2.example", "c.example"))
    file = Reloadable(a)
    pin = '[[peer]]\ndomain = "b.example"\naddresses = ["{}:{}"]\n'
    file.edit(also=pin.format(*b.endpoint)).reload()
    for name in ("b.example", "c.example"):
        assert a.send("alice@a.example", f"bob@{name}").outcome().ok
    before = {one.remote: one.number for one in a.sessions()}
    view = file.edit((pin.format(*b.endpoint), pin.format(*moved.endpoint))).reload()
    touched = {one["link"] for one in view["links"]}
    assert (before[b.endpoint] in touched, before[c.endpoint] in touched) == (True, False)
    outcome = a.send("alice@a.example", "bob@b.example").outcome()
    assert not outcome.ok  # who listens there serves b2.example
    assert before[c.endpoint] in links(a)
    assert a.router.dialer._pinned == {"b.example": (moved.endpoint,)}


def test_limits_hold_on_open_links_at_once(lab: Lab) -> None:
    """Rates of a peer's senders, of our own users, sizes, and exceptions."""
    a, b = lab.router("a.example"), lab.router("b.example")
    file = Reloadable(a)
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    before = links(a)
    file.edit(
        before="limits.sender_burst = 1\nlimits.sender_rate_per_s = 0.001\nlimits.max_message_bytes = 200\n"
    )
    file.reload()
    assert b.send("bob@b.example", "alice@a.example", "too long" * 50).outcome().reason is Reason.TOO_LARGE
    answers = [b.send("bob@b.example", "alice@a.example", "hi").outcome().reason for _ in range(3)]
    assert Reason.RATE_LIMITED in answers
    ours = [a.send("bob@a.example", "alice@a.example", "hi").outcome().reason for _ in range(3)]
    assert ours == [Reason.NONE, Reason.RATE_LIMITED, Reason.RATE_LIMITED]
    exception = '[[limits.exceptions]]\nsender = "bob@a.example"\nrate_per_s = 100.0\n'
    file.edit(also=exception).reload()
    assert a.send("bob@a.example", "alice@a.example", "hi").outcome().ok
    assert links(a) == before


def test_what_is_in_force_is_shown_with_its_source(lab: Lab) -> None:
    """Default, file or run time; secrets are masked."""
    secret = "ab" * 32
    a = lab.router("a.example", "c.example")
    file = Reloadable(a).edit(before=f'dialback.keys = {{ k1 = "{secret}" }}\nlinks.max_hops = 50\n')
    view = file.reload()
    assert "dial-back keys: others than before" in view["notes"]
    assert ctl(a, "domains", "change", "c.example", "--tenant", "t").exit_code == 0
    shown = ctl_json(a, "config", "show")
    assert secret not in json.dumps(shown)
    rows = {
        (one["table"], one["entry"], one["key"]): (one["value"], one["source"]) for one in shown["settings"]
    }
    assert rows["links", "", "max_hops"] == ("50", "file")
    assert rows["links", "", "idle_s"] == ("300.0", "default")
    assert rows["dialback", "", "keys"] == ("(secret)", "file")
    assert rows["domain", "c.example", "tenant"] == ('"t"', "run time")
    assert rows["domain", "a.example", "service"] == ('"home"', "file")
    assert (shown["reloads"]["applied"], shown["domains"]) == (1, 2)
    objectives = '[[peer]]\ndomain = "b.example"\nobjectives = { delivery_p99_s = 2 }\n'
    file.edit(also=objectives).reload()
    (row,) = (one for one in ctl_json(a, "config", "show")["settings"] if one["table"] == "peer.objectives")
    assert (row["entry"], row["key"], row["value"]) == ("b.example", "delivery_p99_s", "2.0")
    text = ctl(a, "config", "show", "links")
    assert "max_hops = 50  # file" in text.stdout
    assert "ping_s" in text.stdout
    assert "level" not in text.stdout
    assert ctl(a, "config", "show", "nothing").exit_code == 5


def test_one_reload_at_a_time_and_only_of_a_file(lab: Lab) -> None:
    """Both are said so."""
    a, b = lab.router("a.example"), lab.router("b.example")
    Reloadable(a)
    a.router.reloading._running = True
    answer = ctl(a, "config", "reload")
    assert answer.exit_code == 1
    assert "a reload is under way" in answer.stderr
    answer = ctl(b, "config", "reload")
    assert answer.exit_code == 1
    assert "without a configuration file" in answer.stderr


def test_uplinks_come_go_and_change(lab: Lab) -> None:
    """By their name, address and key; what comes over one that stays is not touched."""
    keys = [login_key(number) for number in (21, 22)]
    satellites = [service_table("sat", key, f"s{number}.example") for number, key in enumerate(keys)]
    hubs = [
        lab.router(f"hub{number}.example", settings={"lab": True}, tables=tables)
        for number, tables in enumerate(satellites)
    ]
    a = lab.router("a.example", publish=False, settings={"lab": True})
    file = Reloadable(a)
    first, second = (lab.uplink_table(hub.endpoint, key) for hub, key in zip(hubs, keys, strict=True))
    file.edit(also=first).reload()
    lab.wait_until(lambda: len(a.router.switch.uplinks) == 1, "the uplink")
    (kept,) = links(a)
    file.edit(before="links.max_hops = 30\n", also=second).reload()
    lab.wait_until(lambda: len(a.router.switch.uplinks) == 2, "both uplinks")
    assert kept in links(a)
    view = file.edit((first, "")).reload()
    assert [one["link"] for one in view["links"]] == [kept]
    lab.wait_until(lambda: len(a.router.switch.uplinks) == 1 and kept not in a.router.hub.sessions, "the end")
    (left,) = links(a)
    file.edit((second, "")).reload()
    lab.wait_until(lambda: not a.router.hub.sessions, "the end of the last")
    assert left != kept
    assert not a.router.uplinks.dialers


def test_a_changed_key_file_is_taken_under_its_old_name(lab: Lab) -> None:
    """A new key is known first, signs then, and the old one goes; no claim is refused meanwhile."""
    keys = lab.folder / "dialback.keys"
    old, new = f"k1 {'11' * 32}\n", f"k2 {'22' * 32}\n"
    keys.write_text(old)
    a = lab.router("a.example", settings={"dialback.key_file": str(keys)})
    file = Reloadable(a)
    for number, text in enumerate((old + new, new + old, new)):
        keys.write_text(text)
        view = file.reload()
        assert view["notes"] == ["dial-back keys: others than before"]
        assert view["changes"] == []
        peer = lab.router(f"b{number}.example")
        assert a.send("alice@a.example", f"bob@b{number}.example").outcome().ok
        assert peer.send(f"bob@b{number}.example", "alice@a.example").outcome().ok
    file.reload(result="unchanged")
    keys.write_text("k3 short\n")
    view = file.reload(result="refused")
    assert "dialback.key_file" in view["problems"][0]["path"]
    assert a.router.keyring.holds([bytes.fromhex("22" * 32)])


def test_a_domain_may_be_given_another_certificate(lab: Lab) -> None:
    """By its file; the folder is read as by `imxctl certs reload`, and nothing else of it changes."""
    folder, authority, now = lab.folder / "certificates", Authority.root(), time.time()
    folder.mkdir()
    for name in ("first", "second"):
        issued = authority.issue("a.example", not_before=now - DAY, not_after=now + 30 * DAY)
        issued.write(folder, name)
    trust = [str(authority.issued.write(lab.folder, "root"))]
    settings = {"tls.certificates": str(folder), "tls.watch_s": 0, "tls.trust": trust}
    a = lab.router("a.example", settings=settings)
    file, entry = Reloadable(a), 'name = "a.example"\nservice = "home"\n'

    def shown() -> list[str]:
        return [Path(one["file"]).stem for one in ctl_json(a, "certs")["certificates"] if one["domains"]]

    (before,) = shown()
    (other,) = {"first", "second"} - {before}
    view = file.edit((entry, f'{entry}certificate = "{folder}/{other}.crt"\n')).reload()
    assert lines(view) == ["~ domain a.example certificate: at once"]
    lab.wait_until(lambda: not a.router.certificates._lock.locked, "the folder")
    assert shown() == [other]
    file.reload(result="unchanged")


def test_a_verification_under_way_is_judged_by_the_new_policy(lab: Lab) -> None:
    """What was claimed when less was enough is not proved when it is not."""
    a = lab.router("a.example")
    file, b = Reloadable(a), lab.organisation("b.example")
    first = b.connect(a)
    first.send(Claim(1, b"b.example", b"a.example", SOME_TOKEN))
    second = b.accept()
    verify = second.expect(Verify)
    file.edit(also='[[trust.peer]]\ndomain = "b.example"\npolicy = "dialback+tls"\n').reload()
    second.send(VerifyResult(verify.number, 0, SOME_NONCE))
    first.send(Proof(1, verify.secret))
    assert first.expect(ClaimResult).reason == Reason.WEAKER_THAN_POLICY.code
    assert a.proved("b.example") == 0


def test_whom_a_pinned_peer_is_trusted_by_is_obeyed_at_once(lab: Lab) -> None:
    """Proofs by another authority's certificate end, also on links that we opened to the same address."""
    now = time.time()
    dates = {"not_before": now - DAY, "not_after": now + DAY}
    good, other = (Authority.root(name, **dates) for name in ("good", "other"))
    files = [one.issued.write(lab.folder, name) for one, name in ((good, "good"), (other, "other"))]

    def settings(name: str) -> dict[str, object]:
        folder = lab.folder / name
        folder.mkdir()
        good.issue(name, not_before=now - DAY, not_after=now + DAY).write(folder, name)
        return {
            "tls.certificates": str(folder), "tls.watch_s": 0, "tls.trust": [str(files[0])],
            "trust.default_policy": "dialback+certificate",
        }  # fmt: skip

    a, b = (lab.router(name, settings=settings(name)) for name in ("a.example", "b.example"))
    place = f"{b.endpoint[0]}:{b.endpoint[1]}"
    pin = f'[[peer]]\ndomain = "b.example"\naddresses = ["{place}"]\nanchor = "{files[0]}"\n'
    file = Reloadable(a).edit(also=pin)
    file.reload()
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    moved = (str(files[0]) + '"\n', str(files[1]) + '"\n')
    view = file.edit((f'anchor = "{moved[0]}', f'anchor = "{moved[1]}')).reload()
    assert view["links"]
    assert not any(b"b.example" in one.port.sources for one in a.sessions())
    assert a.send("alice@a.example", "bob@b.example").outcome().reason is Reason.TLS_FAILED
    file.edit((f'anchor = "{moved[1]}', f'anchor = "{moved[0]}')).reload()
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    file.edit((f'anchor = "{moved[0]}', 'anchor = "/nowhere/ca.pem"\n')).reload(result="failed")
