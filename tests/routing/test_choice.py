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
    st.builds(LookUp, st.sampled_from(Publication), st.sampled_from([Reason.NONE, Reason.DNS_TIMEOUT])),
)
FACTS = st.builds(
    ChoiceFacts,
    pinned=st.none() | st.sampled_from(Protocol),
    served_here=st.booleans(),
    incoming=st.none() | st.sampled_from(Protocol),
    look_ups=LOOK_UPS,
    allowed=st.frozensets(st.sampled_from(Protocol)),
    order=st.permutations(list(Protocol)).map(tuple),
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


@given(FACTS)
def test_no_failure_leads_to_another_protocol(facts: ChoiceFacts) -> None:
    """What stands before the chosen one was cleanly absent or not allowed; nothing else is chosen."""
    result = choose(facts)
    if not isinstance(result, Choice) or result.protocol is None:
        return
    assert result.protocol in facts.allowed
    if result.why is Why.PINNED:
        return
    assert facts.look_ups[result.protocol].publication is Publication.PUBLISHED
    wanted = ([facts.incoming] if facts.incoming else []) + list(facts.order)
    for earlier in wanted[: wanted.index(result.protocol)]:
        clean = facts.look_ups.get(earlier) == LookUp(Publication.ABSENT, Reason.NONE)
        absent = earlier in facts.look_ups and facts.look_ups[earlier].publication is Publication.ABSENT
        assert earlier not in facts.allowed or clean or absent


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
