"""From the first header to an open stream: features, STARTTLS, SASL EXTERNAL, the secret of a component.

Each function takes what came and does what RFC 6120 sections 4.3, 5 and 6 and XEP-0114 say; that it may come
now was checked against `steps.LEGAL` before.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.effects import (
    AskedExternal,
    Attached,
    Drop,
    Effect,
    External,
    HeaderSeen,
    StartTls,
    TlsFollows,
)
from imxrouter.gateways.xmpp.elements import (
    authzid,
    authzid_of,
    bare_domain,
    features_of,
    sasl_failure_of,
    tree_of,
)
from imxrouter.gateways.xmpp.heard import Header
from imxrouter.gateways.xmpp.names import SASL, Condition
from imxrouter.gateways.xmpp.say import Features
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.gateways.xmpp.terms import TlsRule
from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason

#: Attempts of SASL that may fail before the stream ends (RFC 6120 section 6.4.5 asks for two to five).
AUTH_FAILURES_AT_MOST: Final = 2
_EXTERNAL: Final = "EXTERNAL"
_ABORT: Final = f"<abort xmlns='{SASL}'/>".encode()


# -- headers ---------------------------------------------------------------------------------------------


def on_header(stream: Stream, header: Header) -> list[Effect]:
    """Take a stream header; the first says who is who, the others must say the same."""
    if stream.step is not Step.HEADER:
        return stream.fail(Condition.NOT_AUTHORIZED, "a stream header that is not due")
    if stream.role is StreamRole.COMPONENT_IN:
        return _on_component(stream, header)
    if stream.side is Side.OPENER:
        return _on_answer(stream, header)
    return _on_stranger(stream, header)


def _on_stranger(stream: Stream, header: Header) -> list[Effect]:
    from_ = bare_domain(header.from_) if header.from_ else ""
    to = bare_domain(header.to)
    stream.called = from_ or ""
    if from_ is None or to is None:
        return stream.fail(Condition.IMPROPER_ADDRESSING, "from and to of a stream are domains")
    changed = _changed(stream, from_, to)
    if changed is not None:
        return stream.fail(changed, "from and to of a stream stay as they are")
    if not stream.terms.serves(to):
        return stream.fail(Condition.HOST_UNKNOWN, f"{to} is not served here", Reason.RELAY_DENIED)
    stream.own, stream.seen = to, True
    refused = stream.terms.admits(from_) if from_ else None
    if refused is not None:
        return stream.fail(refused, f"{from_} is not taken here", Reason.NOT_PROVED)
    stream.other = from_
    if header.version < (1, 0):
        return _without_features(stream, header)
    stream.offered = _offer(stream)
    answer = stream.wrote(stream.header() + say.features(stream.offered))
    if stream.offered.required:
        stream.wait_in(Step.NEGOTIATING, stream.terms.settings.negotiation_s)
        return [HeaderSeen(header), answer]
    return [HeaderSeen(header), answer, *stream.opened()]


def _changed(stream: Stream, from_: str, to: str) -> Condition | None:
    """What is wrong with the parties of a header after the first (RFC 6120 sections 4.7.1 and 4.7.2)."""
    if not stream.seen:
        return None
    if stream.other and from_ != stream.other:
        return Condition.INVALID_FROM
    # One that is not served gets `host-unknown`, as the first header does.
    return Condition.IMPROPER_ADDRESSING if to != stream.own and stream.terms.serves(to) else None


def _without_features(stream: Stream, header: Header) -> list[Effect]:
    """The other side is older than RFC 3920: dial-back is all that is left (XEP-0220 section 2.4.2)."""
    if stream.terms.tls is TlsRule.REQUIRED and not stream.tls:
        note = "TLS is needed, and there is none before version 1.0"
        return stream.fail(Condition.UNSUPPORTED_VERSION, note, Reason.WEAKER_THAN_POLICY)
    hello = [] if stream.side is Side.OPENER else [stream.wrote(stream.header())]
    return [HeaderSeen(header), *hello, *stream.opened()]


def _offer(stream: Stream) -> Features:
    """What the other side may do next (RFC 6120 section 4.3.2)."""
    terms, settings = stream.terms, stream.terms.settings
    tls = terms.tls is not TlsRule.NONE and not stream.tls
    if tls and terms.tls is TlsRule.REQUIRED:  # stands alone (RFC 6120 section 5.3.1)
        return Features(starttls=True, required=True)
    fresh = stream.tls and not stream.external
    external = fresh and bool(stream.other) and terms.external(stream.other)
    dialback = not stream.other or terms.dialback(stream.other)
    return Features(
        starttls=tls,
        mechanisms=(_EXTERNAL,) if external else (),
        dialback=dialback,
        errors=dialback,
        bidi=fresh and terms.bidi,
        sm=stream.external and terms.sm,
        max_bytes=settings.limits.stanza_bytes,
        idle_s=int(settings.idle_s),
    )


def _on_answer(stream: Stream, header: Header) -> list[Effect]:
    if stream.role is StreamRole.S2S_OUT:
        from_ = bare_domain(header.from_) if header.from_ else stream.other
        to = bare_domain(header.to) if header.to else stream.own
        if from_ != stream.other:
            return stream.fail(Condition.INVALID_FROM, f"the stream was opened to {stream.other}")
        if to != stream.own:
            return stream.fail(Condition.IMPROPER_ADDRESSING, f"the stream was opened by {stream.own}")
    if not header.ident:
        return stream.fail(Condition.BAD_FORMAT, "a stream header without id")
    stream.stream_id, stream.seen = header.ident, True
    if stream.role is StreamRole.COMPONENT_OUT:
        return _prove_component(stream, header)
    if header.version < (1, 0):
        return _without_features(stream, header)
    stream.wait_in(Step.FEATURES, stream.terms.settings.negotiation_s)
    return [HeaderSeen(header)]


# -- what we choose of what is offered --------------------------------------------------------------------


def on_features(stream: Stream, element: Element) -> list[Effect]:
    """Choose: TLS first, then EXTERNAL, else dial-back."""
    stream.features = offered = features_of(element)
    stream.heard_features = True
    terms = stream.terms
    if not stream.tls:
        # Asked for where it is needed, even if it is not offered: somebody may have taken the offer away.
        if terms.tls is TlsRule.REQUIRED or (terms.tls is TlsRule.OFFERED and offered.starttls):
            stream.wait_in(Step.PROCEED, terms.settings.negotiation_s)
            return [stream.wrote(say.STARTTLS)]
        if offered.required:
            return stream.end(
                b"", Drop(Reason.TLS_FAILED, None, "the other side wants TLS, which is off here")
            )
    out = b""
    if stream.tls and not stream.external:
        if offered.bidi and terms.bidi and not stream.pairs.bidi:
            stream.pairs.speak_both_ways()
            out = say.USE_BIDI
        if _EXTERNAL in offered.mechanisms and not stream.auth_failures and terms.external(stream.own):
            stream.wait_in(Step.SASL, terms.settings.negotiation_s)
            return [stream.wrote(out + say.sasl_auth(_EXTERNAL, authzid(stream.own)))]
    return [*([stream.wrote(out)] if out else []), *_negotiated(stream)]


def _negotiated(stream: Stream) -> list[Effect]:
    effects = stream.opened()
    if stream.external:
        pair = (stream.own, stream.other)
        stream.prove(pair, ours=True)
        effects.append(External(*pair))
    if stream.features.sm and stream.terms.sm and not stream.counting:
        stream.confirmations.enable()
        effects.append(stream.wrote(say.SM_ENABLE))
    return effects


# -- TLS (RFC 6120 section 5.4) ---------------------------------------------------------------------------


def on_starttls(stream: Stream, _element: Element) -> list[Effect]:
    """The other side wants TLS: before anything was claimed in clear, and once.

    Where it is not offered the answer is no stream error, but `<failure/>` and the end of stream and
    connection (RFC 6120 section 5.4.2.2).
    """
    if not stream.offered.starttls or stream.pairs.claimed_here:
        return stream.end(say.TLS_FAILURE, Drop(Reason.PROTOCOL_ERROR, None, "TLS is not offered now"))
    refused = _before_tls(stream)
    if refused:
        return refused
    answer = stream.wrote(say.PROCEED)
    stream.wait_in(Step.TLS, stream.terms.settings.negotiation_s)
    return [answer, TlsFollows()]


def on_proceed(stream: Stream, _element: Element) -> list[Effect]:
    """The other side waits for our handshake."""
    refused = _before_tls(stream)
    if refused:
        return refused
    stream.wait_in(Step.TLS, stream.terms.settings.negotiation_s)
    return [StartTls(stream.other)]


def _before_tls(stream: Stream) -> list[Effect]:
    """Refuse what was sent in clear behind the word that ends clear text: it would be read inside TLS.

    It may be well-formed; it is said before it may be (RFC 6120 sections 4.9.3.12 and 5.3.3).
    """
    if not stream.more_came:
        return []
    return stream.fail(Condition.NOT_AUTHORIZED, "something in clear behind the begin of TLS")


def on_tls_failure(stream: Stream, _element: Element) -> list[Effect]:
    """The other side cannot, whatever it offered."""
    return stream.end(b"", no_tls("the other side refuses STARTTLS"))


def no_tls(note: str) -> Drop:
    """Say that there is no TLS where it is needed (RFC 7590 section 3.1): never go on in clear."""
    return Drop(Reason.WEAKER_THAN_POLICY, None, note)


# -- SASL EXTERNAL, as the other side (RFC 6120 section 6.4, XEP-0178) --------------------------------------


def on_auth(stream: Stream, element: Element) -> list[Effect]:
    """The other side asks to be taken for the domain of its header by its certificate."""
    if stream.external or stream.pairs.claimed_here:
        return stream.fail(Condition.NOT_AUTHORIZED, "authentication after authentication")
    if element.attributes.get("mechanism") != _EXTERNAL:
        return refuse_auth(stream, "invalid-mechanism")
    if _EXTERNAL not in stream.offered.mechanisms or not stream.terms.external(stream.other):
        return refuse_auth(stream, "not-authorized")
    asked = authzid_of(tree_of(element).text)
    if asked is None:
        return refuse_auth(stream, "incorrect-encoding")
    if not _is_own_name(stream, asked):
        return refuse_auth(stream, "invalid-authzid")
    stream.wait_in(Step.SASL, stream.terms.settings.negotiation_s)
    return [AskedExternal(stream.other, stream.own)]


def _is_own_name(stream: Stream, asked: str) -> bool:
    """Whether it asks for the domain of its header and for no other (XEP-0178 section 3)."""
    return asked == "" or bare_domain(asked) == stream.other


def on_abort(stream: Stream, _element: Element) -> list[Effect]:
    """The other side has changed its mind (RFC 6120 section 6.4.4)."""
    return refuse_auth(stream, "aborted")


def refuse_auth(stream: Stream, condition: str) -> list[Effect]:
    """Answer `<failure/>`; dial-back may still follow."""
    stream.auth_failures += 1
    failure = say.sasl_failure(condition)
    if stream.auth_failures < AUTH_FAILURES_AT_MOST:
        stream.step = Step.OPEN
        return [stream.wrote(failure)]
    last = failure + say.stream_error(Condition.POLICY_VIOLATION, "too many attempts")
    return stream.end(last, Drop(Reason.NOT_PROVED, Condition.POLICY_VIOLATION, f"SASL: {condition}"))


def take_auth(stream: Stream) -> list[Effect]:
    """Answer `<success/>`: the pair is proved, and the stream begins anew."""
    stream.external = True
    stream.prove((stream.other, stream.own), ours=False)
    answer = stream.wrote(say.SASL_SUCCESS)
    return [answer, *stream.begin()]


# -- SASL EXTERNAL, as ourselves ----------------------------------------------------------------------------


def on_success(stream: Stream, _element: Element) -> list[Effect]:
    """We are taken for our domain; the stream begins anew."""
    if stream.more_came:
        return stream.fail(Condition.NOT_AUTHORIZED, "something behind the end of authentication")
    stream.external = True
    return stream.begin()


def on_failure(stream: Stream, element: Element) -> list[Effect]:
    """Our certificate will not do: dial-back is left, and how we prove ourselves is their policy."""
    stream.auth_failures += 1
    stream.auth_said = sasl_failure_of(element)
    return _negotiated(stream)


def on_challenge(stream: Stream, _element: Element) -> list[Effect]:
    """EXTERNAL has no challenge where the first response says all: give it up."""
    return [stream.wrote(_ABORT)]


# -- components (XEP-0114 section 3) ------------------------------------------------------------------------


def _on_component(stream: Stream, header: Header) -> list[Effect]:
    name = bare_domain(header.to)
    if name is None:
        return stream.fail(Condition.IMPROPER_ADDRESSING, "a component's stream is to its name")
    if not stream.terms.serves(name) or stream.terms.secret(name) is None:
        return stream.fail(Condition.HOST_UNKNOWN, f"{name} is no component here", Reason.RELAY_DENIED)
    stream.other, stream.seen = name, True
    stream.wait_in(Step.HANDSHAKE, stream.terms.settings.header_s)
    return [HeaderSeen(header), stream.wrote(stream.header())]


def _prove_component(stream: Stream, header: Header) -> list[Effect]:
    secret = stream.terms.secret(stream.own)
    if secret is None:
        return stream.end(b"", Drop(Reason.LOGIN_FAILED, None, f"no secret for {stream.own}"))
    stream.wait_in(Step.HANDSHAKE, stream.terms.settings.header_s)
    return [HeaderSeen(header), stream.wrote(say.handshake(_digest(stream.stream_id, secret)))]


def on_handshake(stream: Stream, element: Element) -> list[Effect]:
    """The proof of the secret, or its answer."""
    if stream.role is StreamRole.COMPONENT_IN:
        secret = stream.terms.secret(stream.other)
        said = tree_of(element).text.strip().lower().encode("utf-8", "surrogatepass")
        good = secret is not None and hmac.compare_digest(_digest(stream.stream_id, secret).encode(), said)
        if not good:
            return stream.fail(Condition.NOT_AUTHORIZED, "wrong secret", Reason.LOGIN_FAILED)
        refused = stream.terms.admits(stream.other)
        if refused is not None:
            return stream.fail(refused, f"{stream.other} is not taken here", Reason.OVER_CAP)
        answer = [stream.wrote(say.handshake())]
    else:
        answer = []
    stream.widen()
    name = stream.other if stream.role is StreamRole.COMPONENT_IN else stream.own
    return [*answer, *stream.opened(), Attached(name)]


def _digest(stream_id: str, secret: bytes) -> str:
    """What proves the secret; SHA-1 is what XEP-0114 has, and a MAC of 128 fresh bits is all it must be."""
    return hashlib.sha1(stream_id.encode() + secret, usedforsecurity=False).hexdigest()
