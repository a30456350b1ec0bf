"""Which protocol: the rule, and that no failure leads to a weaker one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import (
    Ask,
    Choice,
    ChoiceFacts,
    LookUp,
    NoChoice,
    Protocol,
    Publication,
    Why,
    choose,
)

IMX, XMPP, SIP = Protocol.IMX, Protocol.XMPP, Protocol.SIP
YES, NO = LookUp(Publication.PUBLISHED), LookUp(Publication.ABSENT)
BROKEN = LookUp(Publication.FAILED, Reason.DNS_TIMEOUT)

LOOK_UPS = st.dictionaries(
    st.sampled_from(Protocol),
    st.builds(
        LookUp,
        st.sampled_from(Publication),
        st.sampled_from([Reason.NONE, Reason.DNS_TIMEOUT]),
        st.booleans(),
    ),
)
FACTS = st.builds(
    ChoiceFacts,
    pinned=st.none() | st.sampled_from(Protocol),
    served_here=st.booleans(),
    incoming=st.none() | st.sampled_from(Protocol),
    look_ups=LOOK_UPS,
    allowed=st.frozensets(st.sampled_from(Protocol)),
    order=st.permutations(list(Protocol)).map(tuple),
    remembered=st.frozensets(st.sampled_from(Protocol)),
)


def test_the_clauses_in_their_order() -> None:
    """Pinned, ours, as it came in, then the order."""
    all_published = {IMX: YES, XMPP: YES, SIP: YES}
    assert choose(ChoiceFacts(pinned=SIP, served_here=True)) == Choice(SIP, Why.PINNED)
    assert choose(ChoiceFacts(served_here=True)) == Choice(None, Why.SERVED_HERE)
    assert choose(ChoiceFacts(incoming=XMPP, look_ups=all_published)) == Choice(XMPP, Why.INCOMING)
    assert choose(ChoiceFacts(look_ups=all_published)) == Choice(IMX, Why.ORDER)
    assert choose(ChoiceFacts(look_ups=all_published, order=(SIP, IMX))) == Choice(SIP, Why.ORDER)


def test_it_asks_for_one_look_up_at_a_time() -> None:
    """Only what is needed."""
    assert choose(ChoiceFacts()) == Ask(IMX)
    assert choose(ChoiceFacts(incoming=SIP)) == Ask(SIP)
    assert choose(ChoiceFacts(look_ups={IMX: NO})) == Ask(XMPP)
    assert choose(ChoiceFacts(incoming=SIP, allowed=frozenset({IMX}))) == Ask(IMX)


def test_only_a_clean_no_moves_on() -> None:
    """A failure or "no service" ends the search with its own reason."""
    assert choose(ChoiceFacts(look_ups={IMX: NO, XMPP: YES})) == Choice(XMPP, Why.ORDER)
    assert choose(ChoiceFacts(look_ups={IMX: BROKEN, XMPP: YES})) == NoChoice(Reason.DNS_TIMEOUT, IMX)
    refused = {IMX: LookUp(Publication.NO_SERVICE), XMPP: YES}
    assert choose(ChoiceFacts(look_ups=refused)) == NoChoice(Reason.NO_SERVICE, IMX)
    assert choose(ChoiceFacts(look_ups={IMX: NO, XMPP: NO, SIP: NO})) == NoChoice(Reason.NO_IMX_RECORD)
    assert choose(ChoiceFacts(pinned=SIP, allowed=frozenset({IMX}))) == NoChoice(Reason.BLOCKED, SIP)


def test_a_declined_protocol_is_no_failure_of_the_others() -> None:
    """A domain that says SRV `.` for XMPP may have IMX; with nothing else, its own word is told."""
    declined = LookUp(Publication.DECLINED, Reason.NO_SERVICE)
    assert choose(ChoiceFacts(incoming=XMPP, look_ups={XMPP: declined, IMX: YES})) == Choice(IMX, Why.ORDER)
    nothing = choose(ChoiceFacts(look_ups={IMX: NO, XMPP: declined, SIP: NO}))
    assert nothing == NoChoice(Reason.NO_SERVICE)


def test_an_address_is_the_last_resort() -> None:
    """After every protocol was looked up and none is published, not before."""
    guessed = LookUp(Publication.GUESSED)
    assert choose(ChoiceFacts(incoming=XMPP, look_ups={XMPP: guessed})) == Ask(IMX)
    assert choose(ChoiceFacts(incoming=XMPP, look_ups={XMPP: guessed, IMX: YES})) == Choice(IMX, Why.ORDER)
    assert choose(ChoiceFacts(look_ups={IMX: BROKEN, XMPP: guessed})) == NoChoice(Reason.DNS_TIMEOUT, IMX)
    alone = {IMX: NO, XMPP: guessed, SIP: NO}
    assert choose(ChoiceFacts(look_ups=alone)) == Choice(XMPP, Why.ADDRESS)


def test_what_vanished_without_proof_is_not_passed_over() -> None:
    """Who was reached by IMX and has no such records now is refused, unless DNSSEC proves the withdrawal."""
    known = frozenset({IMX})
    refused = NoChoice(Reason.WEAKER_THAN_REMEMBERED, IMX)
    for there in (YES, LookUp(Publication.GUESSED)):
        facts = {IMX: NO, XMPP: there, SIP: NO}
        assert choose(ChoiceFacts(look_ups=facts, remembered=known)) == refused
        proved = {**facts, IMX: LookUp(Publication.ABSENT, secure=True)}
        assert isinstance(choose(ChoiceFacts(look_ups=proved, remembered=known)), Choice)
    only_xmpp = ChoiceFacts(look_ups={IMX: NO, XMPP: YES}, remembered=frozenset({XMPP}))
    assert choose(only_xmpp) == Choice(XMPP, Why.ORDER)
    away = ChoiceFacts(look_ups={XMPP: YES}, remembered=known, allowed=frozenset({XMPP}))
    assert choose(away) == Choice(XMPP, Why.ORDER)


def test_going_up_is_no_fall() -> None:
    """From XMPP, which has vanished, to IMX: nothing is weaker for it."""
    facts = ChoiceFacts(incoming=XMPP, look_ups={XMPP: NO, IMX: YES}, remembered=frozenset({XMPP, IMX}))
    assert choose(facts) == Choice(IMX, Why.ORDER)


def test_nothing_published_is_told_as_what_was_looked_for() -> None:
    """No such domain, no record of the only protocol that may be spoken, nothing that may be spoken."""
    gone = LookUp(Publication.ABSENT, Reason.NO_SUCH_DOMAIN)
    assert choose(ChoiceFacts(look_ups={IMX: gone, XMPP: gone, SIP: gone})) == NoChoice(Reason.NO_SUCH_DOMAIN)
    only = ChoiceFacts(look_ups={XMPP: NO}, allowed=frozenset({XMPP}))
    assert choose(only) == NoChoice(Reason.NO_XMPP_RECORD)
    assert choose(ChoiceFacts(allowed=frozenset())) == NoChoice(Reason.BLOCKED)


_CLEAN = {Publication.ABSENT, Publication.DECLINED, Publication.GUESSED}


@given(FACTS)
def test_no_failure_leads_to_another_protocol(facts: ChoiceFacts) -> None:
    """What stands before the chosen one was cleanly absent or not allowed; nothing else is chosen."""
    result = choose(facts)
    if not isinstance(result, Choice) or result.protocol is None:
        return
    assert result.protocol in facts.allowed
    if result.why is Why.PINNED:
        return
    wanted = list(dict.fromkeys(([facts.incoming] if facts.incoming else []) + list(facts.order)))
    earlier = [one for one in wanted[: wanted.index(result.protocol)] if one in facts.allowed]
    if result.why is Why.ADDRESS:
        earlier = [one for one in wanted if one in facts.allowed]
    else:
        assert facts.look_ups[result.protocol].publication is Publication.PUBLISHED
    assert {facts.look_ups[one].publication for one in earlier} <= _CLEAN
    for one in facts.order[: facts.order.index(result.protocol)]:
        if one in earlier and one in facts.remembered:
            assert facts.look_ups[one].secure


@given(FACTS)
def test_asking_ends(facts: ChoiceFacts) -> None:
    """After three answers at most there is a choice or a failure."""
    known = dict(facts.look_ups)
    for _ in range(4):
        result = choose(
            ChoiceFacts(facts.pinned, facts.served_here, facts.incoming, known, facts.allowed, facts.order)
        )
        if not isinstance(result, Ask):
            break
        assert result.protocol not in known
        known[result.protocol] = NO
    else:
        raise AssertionError("asks for ever")
