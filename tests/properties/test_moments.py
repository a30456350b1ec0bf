"""Moments that simulated worlds have found: scripts that once went wrong, each made as short as it gets."""

from __future__ import annotations

from imxrouter.link.machine import LinkState
from imxrouter.model.operations import Notify
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.owed import Decision
from imxrouter.routing.subscriptions import subscription_key
from imxrouter.transport.link import Purpose
from imxrouter.wire.control import Claim, ClaimResult, Verify, VerifyResult
from tests.properties.judge import LIARS_DOMAIN
from tests.properties.liar import LiarsLink
from tests.properties.net import End
from tests.properties.nodes import SETTINGS, Process
from tests.properties.presence_judge import AT_ONCE
from tests.properties.presence_world import PresenceWorld
from tests.properties.test_worlds import SHAPES
from tests.properties.world import World


def _arrive(world: World, *ends: End) -> None:
    """What was written at these ends arrives, one end after the other."""
    for end in ends:
        while end.can_deliver:
            end.deliver(1 << 30)
            world.clock.advance(0)


def _attach(link: LiarsLink, end: End | None) -> None:
    assert end is not None
    end.protocol = link
    link.makeConnection(end)


def _calm(shape: str) -> tuple[World, Process, Process]:
    world = World(SHAPES[shape], calm=True)
    return world, world.processes[0], world.processes[1]


def test_a_withdrawal_that_crosses_a_verification() -> None:
    """On the second connection: afterwards both sides agree on what it carries."""
    world, a, _ = _calm("two")
    sent = [world.submit(a, b"b.example")]
    world.do_second()
    first, second = world.net.connections  # a opened the first and claimed; b opened the second and verified
    a.claimer.withdraw(b"a.example")
    sent.append(world.submit(a, b"b.example"))  # claimed anew on the first connection
    _arrive(world, first.opener, second.acceptor, second.opener)  # b asks, then reads what a withdrew before
    world.do_second()
    sent += [world.submit(a, b"b.example") for _ in range(4)]
    world.do_second()
    world.heal()
    assert [one.outcomes[0].reason.word for one in sent if one.decided is None] == []


def test_a_claim_that_goes_while_its_domain_is_dialled() -> None:
    """Nobody answers at last: nothing is done, for the permit of the claim was given back when it went."""
    world, a, b = _calm("two")
    world.submit(b, b"a.example")  # b dials a and claims
    world.net.complete(0)
    for _ in range(9):
        for end in world.net.deliverable():
            end.deliver(1 << 30)
            world.clock.advance(0)
        if world.net.dialling:  # a is about to ask b
            break
    (link,) = a.hub.sessions.values()
    link.transport.connection.cut(world.chance)
    for end in world.net.deliverable():
        end.deliver(1 << 30)
    assert a.hub.sessions == {}
    world.net.complete(0, fail=True)
    world.check()


def test_what_waits_survives_a_proof_on_a_link_that_closes() -> None:
    """It waits on, for a link is being dialled."""
    world, a, b = _calm("two")
    world.submit(b, b"a.example")  # b dials a and claims
    world.net.complete(0)
    for _ in range(9):
        for end in world.net.deliverable():
            end.deliver(1 << 30)
            world.clock.advance(0)
        if world.net.dialling:  # a is about to ask b
            break
    sent = world.submit(a, b"b.example")  # waits: a dials b
    assert len(world.net.dialling) == 2
    (link,) = a.hub.sessions.values()
    link.close(Reason.SHUTTING_DOWN)
    world.net.complete(0)  # the second connection; the dial for the message is still under way
    first, second = world.net.connections
    # b hears of the close only after it has released its answer
    _arrive(world, second.opener, second.acceptor, second.opener, second.acceptor, first.opener)
    assert sent.outcomes == []
    world.heal()
    assert sent.deliveries == 1


def test_a_second_domain_of_a_peer_while_the_first_is_claimed() -> None:
    """A message to the second waits no longer than one to the first."""
    world, a, _ = _calm("more domains")
    world.submit(a, b"b.example")
    world.net.complete(0)
    while not any(one.is_open for one in a.hub.sessions.values()):
        _arrive(world, world.net.deliverable()[0])
    other = world.submit(a, b"d.example")  # over the same link, where a's claim towards b is pending
    world.do_second()
    assert other.deliveries == 1


def test_a_liar_answers_what_he_was_asked_on_a_link_that_is_lost() -> None:
    """On the next one, where he was asked the same under another number: the claim is not judged by it."""
    world = World(SHAPES["two"], liar=True, calm=True)
    liar, b = world.liar, world.processes[1]
    assert liar is not None
    world.net.connect(liar, b.endpoint).addCallback(lambda end: _attach(LiarsLink(liar, opener=True), end))
    world.flow()
    (first,) = liar.links
    liar.say(first, Claim(1, LIARS_DOMAIN, b"b.example", b"a token"))
    world.flow()
    (asked,) = (link for link in liar.links if link.asks)
    asked.end.connection.cut(world.chance)
    world.flow()
    (again,) = (link for link in liar.links if link.asks)
    assert again.asks[0].number != asked.asks[0].number
    liar.say(again, VerifyResult(asked.asks[0].number, Reason.NOT_MINE.code))
    world.flow()
    world.check()
    assert not any(isinstance(control, ClaimResult) for _, control in liar.heard)
    liar.say(again, VerifyResult(again.asks[0].number, Reason.NOT_MINE.code))
    world.flow()
    world.check()
    results = [control.reason for _, control in liar.heard if isinstance(control, ClaimResult)]
    assert results == [Reason.NOT_MINE.code]
    assert sum(isinstance(control, Verify) for _, control in liar.heard) == 2


def _watching(shape: str) -> tuple[PresenceWorld, Process]:
    """A world in which everybody is shown what he wants to see, and its first router."""
    world = PresenceWorld(SHAPES[shape])
    world.heal()
    world.come_right()
    return world, world.processes[0]


def test_a_silent_link_that_speaks_again_is_not_used_for_ever() -> None:
    """A new link was opened in its stead; when that one ends, what was silent is not in its way."""
    world, a = _watching("two")
    silent = list(a.hub.sessions.values())
    for connection in world.net.connections:
        connection.frozen = True
    while any(one.is_open for one in silent):
        world.do_second()
    assert world.clock.seconds() < SETTINGS.link.dead_s
    assert LinkState.DRAINING in {one.machine.state for one in silent}
    new = [one for one in a.hub.sessions.values() if one.is_open]
    assert new
    world.do_thaw()
    world.do_second()
    for session in new:
        session.transport.connection.cut(world.chance)
    for _ in range(5):
        world.do_second()
    sent = world.submit(a, b"b.example")
    world.do_second()
    assert sent.deliveries == 1
    world.check()


def test_a_watched_domain_that_leaves_a_link_is_looked_after() -> None:
    """Its proofs end, the link stays for another domain; then the host is cut off, and nobody would see."""
    world, a = _watching("more domains")
    b = world.processes[1]
    b.claimer.withdraw(b"d.example")
    world.flow()
    assert b"d.example" not in a.switch.ways
    assert b"b.example" in a.switch.ways
    world.do_dark(b.endpoint)


def test_a_proof_that_we_end_ourselves_is_looked_after_as_well() -> None:
    """As those do that nothing used for an hour."""
    world, a = _watching("more domains")
    b = world.processes[1]
    for session in list(a.hub.sessions.values()):
        if session.purpose is Purpose.DATA:
            session.close(Reason.IDLE)
    world.do_second()
    for session in list(a.hub.sessions.values()):
        a.verifier.drop_proof(session, b"d.example", Reason.IDLE)
    assert b"d.example" not in a.switch.ways
    assert b"b.example" in a.switch.ways
    world.flow()
    world.do_dark(b.endpoint)


def test_a_killed_router_forgets_which_subscriptions_ended_in_its_last_second() -> None:
    """Its file is written behind (decision 0006): it looks after them again until their time is over."""
    world, a = _watching("two")
    b = world.processes[1]
    service, one = world._surely_watched(b.endpoint)[0]
    world.services[b.endpoint].decide(one.watcher, one.presentity, Decision.REFUSE)
    world.clock.advance(0)
    world.flow()
    world.answer(a, always=True)
    world.flow()
    assert service.watching.standing(one.watcher, one.presentity, service.now) is None
    known = {key for key, _ in a.table.items()}
    world.do_restart(a)
    (back,) = {key for key, _ in world.living[-1].table.items()} - known
    assert back.endswith(one.subscription_id)
    world.do_dark(b.endpoint)


def test_what_a_router_says_by_itself_is_no_part_of_what_it_passes_on() -> None:
    """Who was just told as much as may be is told that nobody knows all the same; then it goes on."""
    world, a = _watching("two")
    b = world.processes[1]
    service, one = world._surely_watched(b.endpoint)[0]
    for _ in range(5):
        world.do_second()
    key = subscription_key(one.watcher.key, one.presentity.key, one.subscription_id)
    before = set(world.presence.fates)
    for number in range(AT_ONCE + 1):
        if number == AT_ONCE:
            assert a.liveness._watchers.tell_unknown(key, Reason.UNREACHABLE, b"b.example", lambda _: None)
            assert service.shown[one.watcher, one.presentity] is None
            world.do_second()
        world.services[b.endpoint].stray(one.watcher, one.presentity, one.subscription_id)
        world.flow()
        world.answer(a, always=True)
        world.flow()
        world.check()
    fates = [fate for number, fate in world.presence.fates.items() if number not in before]
    assert sum(fate.deliveries for fate in fates if isinstance(fate.operation, Notify)) == AT_ONCE + 1


def test_a_new_subscription_is_told_a_state_without_order_first() -> None:
    """Under another id it is no older one: what was told before is forgotten with the old subscription."""
    world, _ = _watching("two")
    b = world.processes[1]
    service, before = world._surely_watched(b.endpoint)[0]
    teller, pair = world.services[b.endpoint], (before.watcher, before.presentity)
    for _ in range(2):
        world.do_second()
    service.unwatch(*pair)
    world.do_second()
    teller.decide(*pair, Decision.WAIT)  # he is told nothing in order
    service.watch(*pair, 30)
    world.do_second()
    after = service.watching.standing(*pair, service.now)
    assert after is not None
    assert after.subscription_id != before.subscription_id
    assert service.shown.get(pair) is None
    teller.stray(*pair, after.subscription_id)
    world.flow()
    assert service.shown[pair] == teller.state[pair[1]]
    world.check()
    teller.publish(pair[1])
    world.heal()
    world.come_right()
