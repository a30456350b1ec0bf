"""How a stream ends, what keeps it alive, and what is known of what was sent on it."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.effects import Drop, Effect, Handled, Late, PingOut, Write
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.terms import Confirm
from imxrouter.link.machine import Draining, LinkState
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.attacker import SASL, SM, accepted, auth, header, message, opened, terms, yes
from tests.gateways.xmpp.pipe import OURS, START, THEIRS, Party, a_party

OUT = message(f"y@{OURS}", f"x@{THEIRS}")
END = say.END


def proved_out(confirm: Confirm = Confirm.PING) -> Party:
    """A stream of ours whose pair is proved by dial-back."""
    party = opened(terms(confirm=confirm))
    party.machine.proved((OURS, THEIRS))
    return party


def counted_out() -> Party:
    """A stream of ours after EXTERNAL, with XEP-0198."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms(external=yes), tls=True)
    party.perform(party.machine.start())
    party.take(header(THEIRS, OURS, "id1"))
    party.take(say.features(say.Features(mechanisms=("EXTERNAL",))) + f"<success {SASL}/>".encode())
    party.take(header(THEIRS, OURS, "id2") + say.features(say.Features(sm=True)))
    party.take(f"<enabled {SM}/>".encode())
    party.out.clear()
    return party


def counted_in() -> Party:
    """A stream of theirs after EXTERNAL, with XEP-0198."""
    party = accepted(terms(external=yes), tls=True)
    party.take(auth(THEIRS))
    party.take(header() + f"<enable {SM}/>".encode())
    party.out.clear()
    return party


def written(effects: list[Effect]) -> bytes:
    """The bytes of them."""
    return b"".join(one.data for one in effects if isinstance(one, Write))


def ends(effects: list[Effect]) -> list[Drop]:
    """The ends among them."""
    return [one for one in effects if isinstance(one, Drop)]


# -- ends ------------------------------------------------------------------------------------------------


def test_we_close_a_stream_that_is_read_only() -> None:
    """The other side must stop sending: our end is said at once, what still comes is taken."""
    party = accepted()
    party.machine.proved((THEIRS, OURS))
    effects = party.machine.close(Reason.IDLE, START)
    assert effects == [Draining(Reason.IDLE, False), Write(END)]
    party.take(message())
    assert party.stanzas
    assert party.machine.settle(0) == []
    party.take(END)
    assert party.machine.settle(0) == [Drop(Reason.IDLE)]
    assert not party.machine.peer_closed


def test_we_close_a_stream_that_is_written_on() -> None:
    """Our end waits for what is not confirmed."""
    party = proved_out()
    machine = party.machine
    party.perform(machine.stanzas([OUT], [1], START))
    assert machine.close(Reason.SHUTTING_DOWN, START) == [Draining(Reason.SHUTTING_DOWN, False)]
    assert machine.state is LinkState.DRAINING
    assert machine.settle(1) == []
    party.perform(machine.barrier(machine.confirmations.barrier, START))
    assert party.of(Handled) == [Handled((1,), True)]
    assert machine.settle(0) == [Write(END)]
    assert machine.stanzas([OUT], [2], START) == []
    party.take(END)
    assert machine.settle(0) == [Drop(Reason.SHUTTING_DOWN)]


def test_a_close_has_its_deadlines() -> None:
    """So long for what is not confirmed, and as long for the other side's end."""
    for reason, said in ((Reason.IDLE, END), (Reason.SHUTTING_DOWN, b"<system-shutdown ")):
        machine = proved_out().machine
        machine.stanzas([OUT], [1], START)
        machine.close(reason, START)
        assert [type(one) for one in machine.tick(START + 4.9)] == [PingOut, Write]  # said again
        effects = machine.tick(START + 5)
        assert said in written(effects)
        if reason is Reason.IDLE:
            assert machine.tick(START + 9.9) == []
            effects = machine.tick(START + 10)
        assert [one.reason for one in ends(effects)] == [reason]


def test_they_close() -> None:
    """Our end answers theirs, and nothing more goes out."""
    party = proved_out()
    party.take(END)
    assert party.of(Draining) == [Draining(Reason.NONE, True)]
    assert bytes(party.out) == END
    assert party.machine.peer_closed
    assert party.machine.stanzas([OUT], [1], START) == []
    assert party.machine.claim(OURS, THEIRS, "key") == []
    assert party.machine.settle(0) == [Drop(Reason.NONE)]


def test_they_close_before_it_is_open() -> None:
    """That is the end."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms())
    party.perform(party.machine.start())
    party.take(header(THEIRS, OURS, "id1") + END)
    assert party.drop == Drop(Reason.LINK_LOST, None, "the other side ended the stream")
    assert party.out.endswith(END)


@pytest.mark.parametrize("reason", [Reason.NOT_PROVED, Reason.OVER_CAP, Reason.SUSPENDED])
def test_an_end_for_a_fault_is_an_error_at_once(reason: Reason) -> None:
    """With the condition that the reason has."""
    machine = accepted().machine
    effects = machine.close(reason, START, text="why")
    assert effects[0] == Draining(reason, False)
    assert written(effects).endswith(b"why</text></stream:error></stream:stream>")
    assert [one.reason for one in ends(effects)] == [reason]
    assert machine.refuse(reason) == []


def test_a_refusal_before_the_first_header_has_a_header() -> None:
    """RFC 6120 section 4.9.1.2."""
    machine = a_party(StreamRole.S2S_IN, "", "", terms()).machine
    machine.start()
    said = written(machine.refuse(Reason.OVER_CAP, text="later"))
    assert said.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert b"<resource-constraint " in said
    assert said.endswith(END)


def test_nothing_is_said_in_the_middle_of_a_handshake() -> None:
    """It would be read as TLS."""
    party = opened(terms(), features="")
    party.machine.step = Step.TLS
    assert party.machine.refuse(Reason.BUSY) == [Drop(Reason.BUSY, Condition.RESOURCE_CONSTRAINT, "busy")]


def test_tls_that_nobody_asked_for_is_a_mistake_of_ours() -> None:
    """It fails loudly."""
    with pytest.raises(LocalMisuse):
        accepted().machine.encrypted(START)


def test_what_was_handled_is_said_before_our_end() -> None:
    """XEP-0198 section 4."""
    party = counted_in()
    party.take(message() * 3)
    party.perform(party.machine.close(Reason.IDLE, START))
    assert bytes(party.out) == f"<a {SM} h='3'/>".encode() + END


# -- acknowledgements ------------------------------------------------------------------------------------


def test_what_comes_is_counted_after_enable() -> None:
    """Stanzas alone, and they are told as often as asked."""
    party = counted_in()
    party.take(f"<r {SM}/>".encode() + message() + b" " + f"<r {SM}/>".encode())
    assert bytes(party.out) == f"<a {SM} h='0'/><a {SM} h='1'/>".encode()


@pytest.mark.parametrize("party", [counted_in, accepted], ids=["twice", "without EXTERNAL"])
def test_enable_that_is_not_offered_is_refused(party: object) -> None:
    """The stream goes on."""
    made: Party = party()  # type: ignore[operator]
    made.take(f"<enable {SM}/>".encode())
    assert b"<failed xmlns='urn:xmpp:sm:3'><unexpected-request " in made.out
    assert made.drop is None


def test_resumption_is_refused() -> None:
    """Nothing is ever sent twice."""
    party = counted_in()
    party.take(f"<resume {SM} h='0' previd='x'/>".encode())
    assert b"<failed xmlns='urn:xmpp:sm:3'><item-not-found " in party.out


def test_batches_are_acknowledged() -> None:
    """`<r/>` stands behind a batch, in the same write."""
    party = counted_out()
    assert party.machine.stanzas([OUT, OUT], [1, 2], START) == [Write(OUT + OUT + say.SM_REQUEST)]
    assert party.machine.stanzas([OUT], [3], START) == [Write(OUT)]
    party.now = START + 0.2
    party.take(f"<a {SM} h='2'/>".encode())
    assert party.of(Handled) == [Handled((1, 2), True)]
    assert bytes(party.out) == say.SM_REQUEST
    assert party.machine.round_trip_s == pytest.approx(0.2)
    party.take(f"<a {SM} h='3'/>".encode())
    assert party.of(Handled)[1:] == [Handled((3,), True)]


def test_where_counting_is_refused_pings_do() -> None:
    """Nothing is lost of what went out in between."""
    party = counted_out()
    party.perform(party.machine.stanzas([OUT], [1], START))
    party.out.clear()
    party.take(f"<failed {SM}/>".encode())
    (ping,) = [one for one in party.seen if isinstance(one, PingOut)]
    assert bytes(party.out) == say.ping(OURS, THEIRS, ping.ident)
    party.perform(party.machine.barrier(ping.ident, START))
    assert party.of(Handled) == [Handled((1,), True)]


# -- pings -----------------------------------------------------------------------------------------------


def test_a_ping_stands_behind_a_batch() -> None:
    """In the same write; its answer may come anywhere, so its id is told."""
    machine = proved_out().machine
    ping, write = machine.stanzas([OUT, OUT], [1, None], START)
    assert isinstance(ping, PingOut)
    assert (ping.from_, ping.to) == (OURS, THEIRS)
    assert write == Write(OUT + OUT + say.ping(OURS, THEIRS, ping.ident))
    assert machine.barrier("another", START) == []
    assert machine.barrier(ping.ident, START + 0.1) == [Handled((1,), True)]


def test_an_answer_behind_the_end_of_the_stream_changes_nothing() -> None:
    """It may come over another stream; by then everybody was told that nobody knows."""
    machine = proved_out().machine
    ping, _ = machine.stanzas([OUT], [1], START)
    assert isinstance(ping, PingOut)
    machine.lost()
    assert machine.barrier(ping.ident, START + 0.1) == []


def test_the_next_ping_goes_out_when_it_is_due() -> None:
    """`due_at` says when; a tick asks."""
    machine = proved_out().machine
    machine.stanzas([OUT], [1], START)
    machine.barrier(machine.confirmations.barrier, START)
    assert machine.stanzas([OUT], [2], START + 0.01) == [Write(OUT)]
    assert machine.confirmations.due_at == pytest.approx(START + 0.05)
    assert machine.tick(START + 0.04) == []
    assert [type(one) for one in machine.tick(START + 0.06)] == [PingOut, Write]
    assert machine.confirmations.due_at is None


@pytest.mark.parametrize("spoke", [True, False])
def test_a_ping_that_is_not_answered(*, spoke: bool) -> None:
    """The stanzas before it are late; it counts as dropped only where the other side spoke meanwhile."""
    machine = proved_out().machine
    machine.stanzas([OUT], [1], START)
    if spoke:
        machine.heard(START + 20)
    assert Late not in map(type, machine.tick(START + 29))
    late = [one for one in machine.tick(START + 30) if isinstance(one, Late)]
    assert late == [Late((1,), spoke)]


def test_a_ping_without_an_answer_is_said_again() -> None:
    """The answer to any of them says that the stanzas before it arrived: one may be lost alone.

    A server that has no stream to us yet, and just failed to open one, drops what it would say
    (`ejabberd_s2s_out` bounces for a while), though it has read what we wrote.
    """
    machine = proved_out().machine
    first, _ = machine.stanzas([OUT], [1], START)
    assert isinstance(first, PingOut)
    seen = {at: [one for one in machine.tick(START + at) if isinstance(one, PingOut)] for at in range(30)}
    assert [at for at, pings in seen.items() if pings] == [1, 3, 7, 15]
    assert machine.stanzas([OUT], [2], START + 29) == [Write(OUT)]
    ((second,), (third,)) = seen[1], seen[3]
    assert len({first.ident, second.ident, third.ident}) == 3
    assert machine.barrier(second.ident, START + 29.5) == [Handled((1,), True)]
    assert machine.round_trip_s == pytest.approx(28.5)
    assert machine.barrier(first.ident, START + 29.5) == []  # its turn is over
    assert machine.barrier(third.ident, START + 29.5) == []  # nothing new, and 2 still waits
    assert machine.confirmations.pending == 1


def test_a_stream_whose_pings_are_answered_late_is_alive() -> None:
    """It is not cut for the one that was lost; each round of questions has its own time."""
    machine = proved_out().machine
    machine.stanzas([OUT], [1], START)
    machine.heard(START)
    at, ident = START, ""
    while at < START + 100:
        at += 1
        asked = [one for one in machine.tick(at) if isinstance(one, PingOut)]
        assert machine.state is LinkState.OPEN
        if asked and asked[0].ident != ident:
            ident = asked[0].ident
            machine.barrier(ident, at)
            machine.stanzas([OUT], [int(at)], at + 0.1)


def test_nothing_is_asked_behind_our_end() -> None:
    """Neither about what waits behind the rest between two pings, nor again."""
    machine = proved_out().machine
    machine.stanzas([OUT], [1], START)
    machine.close(Reason.IDLE, START)
    assert END in written(machine.tick(START + 5))
    assert written(machine.tick(START + 9)) == b""


@pytest.mark.parametrize("how", ["said", "lost"])
def test_nothing_is_written_behind_our_end(how: str) -> None:
    """No stanza, no answer of dial-back, no question: a peer would take it for no XML."""
    party = proved_out()
    machine = party.machine
    if how == "said":
        machine.close(Reason.IDLE, START)
        assert written(machine.settle(0)) == END
    else:
        machine.lost()
        machine.proved((OURS, "late.example"))
        assert not machine.may_write(OURS, "late.example")
    assert machine.stanzas([OUT], [1], START) == []
    assert machine.confirmations.pending == 0
    assert machine.fence() == []
    assert machine.claim(OURS, "other.example", "key") == []
    assert machine.answer_claim(OURS, THEIRS, say.DbType.VALID) == []
    assert machine.ask_verify(OURS, THEIRS, "id", "key") == []
    assert machine.answer_verify(OURS, THEIRS, "id", say.DbType.VALID) == []


@pytest.mark.parametrize("late", ["authenticated", "not_authenticated"])
def test_an_answer_to_what_was_not_asked_changes_nothing(late: str) -> None:
    """The proof took its time, and the stream is elsewhere: it does not begin anew, nothing is proved."""
    for party in (accepted(terms(external=yes), tls=True), opened(terms(external=yes), tls=True)):
        step = party.machine.step
        assert getattr(party.machine, late)(START) == []
        assert party.machine.step is step
        assert not party.machine.pairs


def test_blanks_before_the_answer_to_authentication_are_nothing() -> None:
    """They keep a connection alive; anything else ends it."""
    party = accepted(terms(external=yes), tls=True)
    party.machine.receive(auth(THEIRS), START)
    assert party.machine.step is Step.SASL
    assert party.machine.receive(b" \n", START) == []
    assert party.machine.step is Step.SASL
    effects = party.machine.receive(header(), START)
    assert b"<not-authorized " in written(effects)


def test_where_writing_must_do_nothing_is_asked() -> None:
    """The outcome is told at once."""
    machine = proved_out(Confirm.WRITTEN).machine
    assert machine.stanzas([OUT], [1], START) == [Write(OUT), Handled((1,), False)]
    assert not [one for one in machine.tick(START + 200) if isinstance(one, PingOut)]
    assert machine.state is LinkState.OPEN


def test_a_fence_says_when_all_was_read() -> None:
    """Whatever was written, whether anybody asks for it or not."""
    machine = proved_out().machine
    assert machine.fence() == []
    machine.stanzas([OUT], [None], START)
    ping, _ = machine.fence()
    assert isinstance(ping, PingOut)
    fenced = [machine.fenced]
    machine.barrier(ping.ident, START)
    assert [*fenced, machine.fenced] == [False, True]


def test_a_fence_where_nothing_can_be_asked_is_passed() -> None:
    """On a stream that is only read, nothing of ours waits."""
    machine = accepted().machine
    assert machine.fence() == []
    assert machine.fenced


# -- life ------------------------------------------------------------------------------------------------


def test_a_space_keeps_the_connection_alive() -> None:
    """After so long without a byte of ours; it is nothing to who gets it."""
    party = accepted()
    party.machine.heard(START + 50)
    assert party.machine.tick(START + 59) == []
    assert party.machine.tick(START + 60) == [Write(b" ")]
    assert party.machine.tick(START + 100) == []
    party.take(b" ")
    assert party.drop is None


def test_a_silent_peer_is_asked_and_given_up() -> None:
    """Where it can be asked; and a word of it anywhere saves the stream."""
    for answered in (True, False):
        machine = proved_out().machine
        assert machine.tick(START + 59) == []
        ping = machine.tick(START + 60)[0]
        assert isinstance(ping, PingOut)
        if answered:
            machine.barrier(ping.ident, START + 80)
        effects = machine.tick(START + 90)
        assert [one.reason for one in ends(effects)] == ([] if answered else [Reason.KEEPALIVE_TIMEOUT])
        assert (b"<connection-timeout " in written(effects)) is not answered


def test_only_who_is_silent_behind_a_question_is_given_up() -> None:
    """Not who spoke since, though he drops pings; nor who was silent for long, but was asked just now."""
    speaks = proved_out().machine
    assert isinstance(speaks.tick(START + 60)[0], PingOut)
    speaks.heard(START + 61)
    assert ends(speaks.tick(START + 90)) == []
    asked = proved_out().machine
    asked.stanzas([OUT], [1], START + 59)
    assert ends(asked.tick(START + 60)) == []
    assert ends(asked.tick(START + 88)) == []
    assert [one.reason for one in ends(asked.tick(START + 89))] == [Reason.KEEPALIVE_TIMEOUT]


def test_counting_peers_are_asked_by_their_counters() -> None:
    """`<r/>` is the question."""
    party = counted_out()
    assert party.machine.tick(START + 60) == [Write(say.SM_REQUEST)]
    party.now = START + 70
    party.take(f"<a {SM} h='0'/>".encode())
    assert ends(party.machine.tick(START + 95)) == []


def test_idle_and_silent_are_told_apart() -> None:
    """Spaces are life, and no work; who cannot be asked is not silent, for he owes nothing."""
    party = accepted()
    party.machine.proved((THEIRS, OURS))
    party.now = START + 10
    party.take(b" ")
    assert party.machine.silent_for(START + 15) == 0.0
    party.machine.proved((OURS, THEIRS), ours=True)
    assert (party.machine.silent_for(START + 15), party.machine.idle_for(START + 15)) == (5.0, 15.0)
    party.take(message())
    assert party.machine.idle_for(START + 15) == 5.0


def test_components_are_asked_as_well() -> None:
    """In the name of the component, to the server."""
    machine = a_party(StreamRole.COMPONENT_OUT, "irc.ours.example", OURS, terms()).machine
    machine.start()
    machine.opened()
    ping, _ = machine.stanzas([OUT], [1], START)
    assert isinstance(ping, PingOut)
    assert (ping.from_, ping.to) == ("irc.ours.example", OURS)
