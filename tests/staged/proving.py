"""The other organisation is reached, and one side does not take the other for what it says it is."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.app.operators.console import Console
from imxrouter.link.answer import ConnectionView
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Level
from imxrouter.wire.control import Claim, ClaimResult, Verify, VerifyResult
from tests.doubles.raw_peer import SOME_TOKEN, text_message
from tests.doubles.router_rig import RouterRig, free_port, fresh_address
from tests.staged.scene import Case, Scene, Told

A, B = "a.example", "b.example"
ALICE, BOB = f"alice@{A}", f"bob@{B}"
SHARED_KEY = {"dialback.keys.shared": "5c" * 32}


def _other_key(scene: Scene) -> Told:
    """Our DNS leads to a router of ours that has keys of its own."""
    scene.router(B)
    a = scene.router(A)
    scene.router(A)  # its own keys; published last, so that DNS leads to it
    return scene.say(a, ALICE, BOB)


def _clock(scene: Scene) -> Told:
    """The host of ours that is asked has a clock that is an hour ahead: the token has expired there."""
    scene.router(B)
    a = scene.router(A, settings=SHARED_KEY)
    ahead = scene.router(A, settings=SHARED_KEY)
    wall = ahead.router.claimer._wall
    ahead.router.claimer._wall = lambda: wall() + 3600
    return scene.say(a, ALICE, BOB)


def _not_ours(scene: Scene) -> Told:
    """Our DNS leads to a router of somebody else, who says that the claim is none of his."""
    scene.router(B)
    a = scene.router(A, publish=False)
    stranger = scene.lab.organisation(A)
    sent, ident = scene.begin(a, ALICE, BOB)
    asked = stranger.accept()
    verify = asked.expect(Verify)
    asked.send(VerifyResult(verify.number, Reason.DIALBACK_REFUSED.code, None))
    return Told(a, ident, sent.outcome())


def _never_says(scene: Scene) -> Told:
    """Our DNS leads to a host that says hello and then nothing."""
    scene.router(B, settings={"dialback.claim_timeout_s": 1.0})
    a = scene.router(A, publish=False)
    mute = scene.lab.organisation(A)
    sent, ident = scene.begin(a, ALICE, BOB)
    mute.accept().expect(Verify)
    return Told(a, ident, sent.outcome())


def _unlisted(scene: Scene) -> Told:
    scene.router(B)
    return scene.say(scene.router(A, publish=False), ALICE, BOB)


def _unreachable(place: Callable[[Scene], tuple[str, int]]) -> Callable[[Scene], Told]:
    def play(scene: Scene) -> Told:
        scene.router(B, settings={"dial.connect_timeout_s": 0.2})
        a = scene.router(A, publish=False)
        scene.lab.publish(A, place(scene))
        return scene.say(a, ALICE, BOB)

    return play


def _closed_port(_scene: Scene) -> tuple[str, int]:
    ip = fresh_address()
    return ip, free_port(ip)


def _between(scene: Scene) -> Told:
    """The verifier saw TLS on the connection that left here in clear."""
    a, b = scene.router(A), scene.lab.organisation(B)
    sent, ident = scene.begin(a, ALICE, BOB)
    first = b.accept()
    claim = first.expect(Claim)
    asking = b.connect(a)
    asking.send(
        Verify(7, claim.from_domain, claim.to_domain, claim.token, b"s" * 32, int(ConnectionView.TLS_BOUND))
    )
    result = asking.expect(VerifyResult)
    assert result.reason == Reason.TLS_VIEW_MISMATCH.code
    return Told(a, ident, sent.outcome())


def _used_up(scene: Scene) -> Told:
    """Others at our address have made all the verifications that it may cause."""
    b = scene.router(B, settings={"caps.verify_per_source_per_minute": 1})
    a = scene.router(A, settings={"dial.hold_s": 1.0})
    link = scene.peer(b, a.ip)
    link.hello()
    for number in range(1, 17):
        link.send(Claim(number, b"x%d.example" % number, B.encode(), SOME_TOKEN))
        if link.find(ClaimResult).reason == Reason.DIAL_LIMIT.code:
            break
    return scene.say(a, ALICE, BOB)


def _many_claims(scene: Scene) -> Told:
    """One domain of ours is proved on the link, and that is all that the peer takes."""
    scene.router(B, settings={"caps.claims_per_link": 1, "caps.claims_before_proof": 1})
    a = scene.router(A, "second.example", settings={"dial.hold_s": 1.0})
    first = scene.say(a, "alice@second.example", BOB)
    assert first.answer.ok
    return scene.say(a, ALICE, BOB)


def _own_policy(scene: Scene) -> Told:
    scene.router(B)
    tables = '[[domain]]\nname = "strict.example"\nservice = "home"\npolicy = "dialback+tls"\n'
    return scene.say(scene.router(A, tables=tables), "alice@strict.example", BOB)


def _our_policy_for_them(scene: Scene) -> Told:
    scene.router(B)
    a = scene.router(A, settings={"trust.default_policy": "dialback+certificate"})
    return scene.say(a, ALICE, BOB)


def _was_stronger(scene: Scene) -> Told:
    scene.router(B)
    a = scene.router(A)
    known = a.router.gatekeeper.remembered
    a.call(lambda: known.note(Domain(B), Level.DIALBACK_TLS, a.router.hub.now()))
    return scene.say(a, ALICE, BOB)


def _their_policy(scene: Scene) -> Told:
    tables = f'[[domain]]\nname = "{B}"\nservice = "home"\npolicy = "dialback+tls"\n'
    b = scene.router("other.example", tables=tables)
    scene.lab.publish(B, b.endpoint)
    return scene.say(scene.router(A), ALICE, BOB)


def _change(rig: RouterRig, domain: str, **changes: object) -> None:
    """Change a served domain while the router runs."""
    rig.call(lambda: Console(rig.router).domain_change(domain, changes))


def _suspended(scene: Scene) -> Told:
    b, a = scene.router(B), scene.router(A)
    before = scene.say(a, ALICE, BOB)
    assert before.answer.ok
    _change(b, B, state="suspended")
    return scene.say(a, ALICE, BOB)


def _suspended_here(scene: Scene) -> Told:
    a = scene.router(A)
    _change(a, A, state="suspended")
    return scene.say(a, ALICE, BOB)


def _not_served(scene: Scene) -> Told:
    b = scene.router(B)
    scene.lab.publish("c.example", b.endpoint)
    return scene.say(scene.router(A), ALICE, "carol@c.example")


def _relay(scene: Scene) -> Told:
    """A peer that is proved wants us to carry its message on to somebody else."""
    b, a = scene.router(B), scene.lab.organisation(A)
    return scene.ask(b, a.proved_link(b), text_message(ALICE, "carol@c.example", "over you"))


def _as_one_of_us(scene: Scene) -> Told:
    """A peer writes in the name of a domain that is served here."""
    b, a = scene.router(B), scene.lab.organisation(A)
    return scene.ask(b, a.proved_link(b), text_message(f"alice@{B}", BOB, "it is me"))


def _unproved(scene: Scene) -> Told:
    b, a = scene.router(B), scene.lab.organisation(A)
    return scene.ask(b, a.connect(b), text_message(ALICE, BOB, "I am"))


CASES = [
    Case("dial-back key unknown", "our own DNS leads to a host of ours with other dial-back keys",
         _other_key, Reason.NOT_MINE, by=B, logged=(Reason.NOT_MINE,)),
    Case("clock skew", "the clocks of two hosts of ours differ by more than a token lives",
         _clock, Reason.DIALBACK_REFUSED, by=B, logged=(Reason.BAD_TOKEN,)),
    Case("dial-back refused", "our own DNS leads to somebody else's router",
         _not_ours, Reason.DIALBACK_REFUSED, by=B),
    Case("dial-back unanswered", "a host that our own DNS leads to says hello and nothing more",
         _never_says, Reason.DIALBACK_TIMEOUT, by=B),
    Case("we are not in DNS", "we write from a domain that is not published",
         _unlisted, Reason.NO_SUCH_DOMAIN, by=B),
    Case("we cannot be dialled", "nothing listens where our own DNS leads",
         _unreachable(_closed_port), Reason.CONNECTION_REFUSED, by=B),
    Case("we are behind a firewall", "our own firewall drops what others send to our port",
         _unreachable(Scene.black_hole), Reason.CONNECT_TIMEOUT, by=B),
    Case("something stands between", "the peer saw TLS on a connection that we opened in clear",
         _between, Reason.TLS_VIEW_MISMATCH),
    Case("verifications used up", "too many claims came from our address",
         _used_up, Reason.DIAL_LIMIT, by=B),
    Case("too many claims on a link", "more domains of ours than the peer takes on a link",
         _many_claims, Reason.TOO_MANY_CLAIMS, by=B),
    Case("own policy", "the sender's own domain asks for more than this link is",
         _own_policy, Reason.WEAKER_THAN_POLICY),
    Case("policy for the peer", "our policy for the other domain asks for more than can be had",
         _our_policy_for_them, Reason.WEAKER_THAN_POLICY),
    Case("was stronger before", "the other domain was seen with TLS before, and now without",
         _was_stronger, Reason.WEAKER_THAN_REMEMBERED),
    Case("the peer's policy", "the recipient's domain asks for more than what is proved of us",
         _their_policy, Reason.WEAKER_THAN_POLICY, by=B),
    Case("suspended there", "the recipient's domain was suspended by its operator",
         _suspended, Reason.SUSPENDED, by=B),
    Case("suspended here", "the sender's domain is suspended here",
         _suspended_here, Reason.SUSPENDED),
    Case("led to the wrong router", "a domain's DNS leads to a router that does not serve it",
         _not_served, Reason.RELAY_DENIED, by="c.example"),
    Case("relay", "a peer wants a message carried on to a third party",
         _relay, Reason.RELAY_DENIED),
    Case("in our name", "a stranger writes as a user of a domain that is served here",
         _as_one_of_us, Reason.SERVED_HERE),
    Case("nothing proved", "a stranger writes without a claim",
         _unproved, Reason.NOT_PROVED),
]  # fmt: skip
