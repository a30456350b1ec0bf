"""Routers with one check replaced, and what must be noticed of each: so every property is shown able to fail.

A mutation rewrites one place of one function, or one table of checks, while a test runs.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from imxrouter.link import claims, machine, token
from imxrouter.switch import core, rewrite, switch, ways
from imxrouter.switch.checks import ALL_CHECKS
from imxrouter.transport import byte_link, dialback, federation, holding, session, verifier
from tests.properties import nodes

#: What carries a mutation out; undone by pytest.
Change = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutation:
    """A router with one check replaced.

    Attributes:
        changes: how it is replaced; more than one where the same is checked twice.
        world: the events in which it is noticed: "bad network", "liar", "in order", "presence" or
            "presence and a liar".
        shape: the organisations among which it is noticed.
        seen: how the property that notices it begins to say so; a regular expression.
        worlds: so many are enough to notice it, many times over; none is played after the one that does.
        quick: noticed soon enough for every run of the tests.
    """

    changes: tuple[Change, ...]
    world: str
    seen: str
    shape: str = "two"
    worlds: int = 4000
    quick: bool = False


def _rewrite(patch: pytest.MonkeyPatch, module: ModuleType, name: str, old: str, new: str) -> None:
    *path, last = name.split(".")
    holder: Any = module
    for part in path:
        holder = getattr(holder, part)
    source = textwrap.dedent(inspect.getsource(getattr(holder, last)))
    assert source.count(old) == 1, f"{name} has {source.count(old)} places that read {old!r}"
    made: dict[str, Any] = {}
    source = "from __future__ import annotations\n" + source.replace(old, new)
    code = compile(source, f"mutated {name}", "exec")
    exec(code, module.__dict__, made)  # noqa: S102 - our own source with one place changed
    original = getattr(holder, last)
    patch.setattr(holder, last, made[last])
    for other in [one for name, one in sys.modules.items() if name.startswith("imxrouter.")]:
        if getattr(other, last, None) is original:  # imported there by name
            patch.setattr(other, last, made[last])


def instead(module: ModuleType, name: str, old: str, new: str) -> Change:
    """One place of a function reads otherwise."""
    return partial(_rewrite, module=module, name=name, old=old, new=new)


def nothing(owner: type, method: str) -> Change:
    """A method does nothing."""

    def change(patch: pytest.MonkeyPatch) -> None:
        assert callable(getattr(owner, method))
        patch.setattr(owner, method, lambda *_args: None)

    return change


def without(check: str) -> Change:
    """The switch does not make one of its checks."""

    def change(patch: pytest.MonkeyPatch) -> None:
        checks = replace(ALL_CHECKS, **{check: False})
        patch.setattr(nodes, "Switch", partial(switch.Switch, checks=checks))

    return change


def _retry_often(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(core, "MAX_RETRIES", 5)


_ELSEWHERE = r"proved on a link of|proved without a right answer on that link"
_TWICE = r"delivered 2 times"
_UNTRUE = r"failure is said of a message that was delivered|delivered after a failure was said"

MUTATIONS: dict[str, Mutation] = {
    # -- proofs: what the verifier holds --
    "any answer proves": Mutation(
        (instead(
            claims, "ClaimsReceived.answer", "if not hmac.compare_digest(expected, answer):", "if False:",
        ),),
        "liar", _ELSEWHERE, quick=True,
    ),
    "an answer proves on any link": Mutation(
        (instead(
            verifier, "Verifier.proof", "claim = first.received.answer(proof.number, proof.answer)",
            "for first in self._hub.sessions.values():\n"
            "        if (claim := first.received.answer(proof.number, proof.answer)) is not None:\n"
            "            break",
        ),),
        "liar", _ELSEWHERE,
    ),
    "the claimer's word proves": Mutation(
        (instead(
            verifier, "Verifier.verify_result", "if verification.claim.state is ClaimState.RELEASED:",
            "verification.claim.state = ClaimState.RELEASED\n        if True:",
        ),),
        "bad network", _ELSEWHERE, quick=True,
    ),
    "a result from a link that was not asked": Mutation(
        (instead(verifier, "Verifier.verify_result", "or verification.second != second.number ", ""),),
        "liar", r"a nonce was returned that no router asked gave|no router asked refused it", "three",
    ),
    "a result for a question on a lost link": Mutation(
        (instead(verifier, "Verifier._second_gone", "self._put_by(verification)", "pass"),),
        "liar", r"keeps .*verifications|no router asked refused it", quick=True,
    ),
    "two hosts asked at once": Mutation(
        (instead(verifier, "Verifier.verify_result", "verification.second = 0  # its", "pass  # its"),),
        "liar", r"asked of two hosts at once",
    ),
    "a token of any pair": Mutation(
        (
            instead(
                token, "open_token",
                "if not hmac.compare_digest(mac, _mac(secret, from_domain, to_domain, clear)):", "if False:",
            ),
            instead(
                claims, "ClaimsMade.release",
                "if (claim.from_domain, claim.to_domain) != (from_domain, to_domain):", "if False:",
            ),
        ),
        "liar", _ELSEWHERE, "three",
    ),
    "an answer is released again": Mutation(
        (instead(claims, "ClaimsMade.release", "or claim.state is not ClaimState.ASKED ", ""),),
        "liar", r"was released twice", quick=True,
    ),
    "a claim for a domain served here": Mutation(
        (instead(
            verifier, "Verifier._refusal", "if claim.from_domain in self._hub.switch.routes:", "if False:",
        ),),
        "liar", r"is served here and was dialled|proved on a link of", quick=True,
    ),
    # -- proofs: what the claimer holds --
    "success before the answer went": Mutation(
        (instead(
            claims, "ClaimsMade.settle",
            "if reason is Reason.NONE and claim.state is not ClaimState.RELEASED and not by_certificate:",
            "if False:",
        ),),
        "liar", _ELSEWHERE, quick=True,
    ),
    "any nonce": Mutation(
        (instead(
            claims, "ClaimsMade.settle", "[claim.nonces[nonce] for nonce in nonces if nonce in claim.nonces]",
            "list(claim.nonces.values())",
        ),),
        "bad network", _ELSEWHERE, "three",
    ),
    "a second connection before its nonce came back": Mutation(
        (instead(
            dialback, "Claimer.release", "if second:",
            "made = first.made._by_number[decided.number]\n"
            "    self._use_second(first, self._hub.sessions.get(second), made)\n"
            "    if second:",
        ),),
        "bad network", _ELSEWHERE, quick=True,
    ),
    "PROVED for any domain": Mutation(
        (instead(
            dialback, "Claimer.proved_on_second",
            "if record.to_domain not in session.reached or session.redirected:", "if False:",
        ),),
        "liar", _ELSEWHERE, quick=True,
    ),
    "ways stay after WITHDRAW": Mutation(
        (nothing(ways.Ways, "end_from"),),
        "bad network", r"cannot reach", quick=True,
    ),
    # -- rule 1 --
    "any source": Mutation((without("source"),), "liar", r"nobody sent|taken from", quick=True),
    "relay": Mutation((without("relay"),), "liar", r"taken from|relayed to the liar"),
    "an answer over any link": Mutation(
        (without("answer_link"),), "liar", r"success is said of a message that nobody took|delivered after a",
    ),
    "more than was granted": Mutation((without("credit"),), "liar", r"are more than was granted", quick=True),
    # -- one delivery, one true outcome --
    "no duplicates": Mutation((without("duplicates"),), "bad network", _TWICE, quick=True),
    "any epoch": Mutation(
        (instead(rewrite, "as_first", "if record.value(FieldType.EPOCH) != epoch:", "if False:"),),
        "bad network", _TWICE,
    ),
    "the answer of a retry is forgotten at once": Mutation(
        (nothing(core.SwitchCore, "doubt"),),
        "bad network", _TWICE, "three",
    ),
    "what a lost link left unacknowledged is forgotten": Mutation(
        (instead(
            core, "SwitchCore.remove_port",
            "self.memory.keep_for_window(key, now)", "self.memory.forget(key)",
        ),),
        "bad network", _TWICE, quick=True,
    ),
    "an answer without a home is never forgotten": Mutation(
        (instead(core, "SwitchCore._homeless", "self.memory.keep_for_window(entry[3], now)", "pass"),),
        "bad network", r"keeps \['memory", quick=True,
    ),
    "a retry is refused as a first try": Mutation(
        (instead(core, "SwitchCore.refuse", "if data[FLAGS_OFFSET] & FLAG_RETRY:", "if False:"),),
        "bad network", _UNTRUE,
    ),
    "a retry that is late has failed": Mutation(
        (instead(core, "SwitchCore.sweep", "if entry[OUT_PORT] or entry[TRIES]:", "if entry[OUT_PORT]:"),),
        "bad network", _UNTRUE, "three",
    ),
    "a retry that cannot go has failed": Mutation(
        (instead(holding, "Holding.give_up", "if entry[TRIES]:", "if False:"),),
        "bad network", _UNTRUE, quick=True,
    ),
    "retried again and again": Mutation(
        (_retry_often,), "bad network", r"written more often than once and once again", quick=True,
    ),
    "the answer to a request that waits for its retry": Mutation(
        (instead(switch, "Switch._responses", "or not (went_by or tries)", "or not went_by"),),
        "bad network", r"an answer came and was not taken",
    ),
    "the answer on a link that is not proved any more": Mutation(
        (instead(
            switch, "Switch._responses", "(went_by != number and check_link and to_domain not in speaks)",
            "(check_link and to_domain not in speaks)",
        ),),
        "bad network", _TWICE,
    ),
    # -- links end --
    "what waits for a link that drains stays": Mutation(
        (nothing(federation.Federation, "draining"),),
        "in order", r"cost a message.*failure (unreachable|none)", "more domains",
    ),
    "a link that drains is cut": Mutation(
        (instead(session, "LinkSession.settle", "self.port.in_flight + self.port.sent", "0"),),
        "in order", r"cost a message", quick=True,
    ),
    "draining never ends early": Mutation(
        (nothing(session.LinkSession, "settle"),),
        "in order", r"drains for .* s, 3 with nothing left", quick=True,
    ),
    "draining has no deadline": Mutation(
        (instead(
            machine, "LinkMachine.tick", "self._deadline is not None and now >= self._deadline", "False",
        ),),
        "bad network", r"drains for .* s, 0 with nothing left",
    ),
    "what was put out is lost at the end of a link": Mutation(
        (instead(byte_link, "ByteLink.write_rest", "if chunks:", "if False:"),),
        "liar", r"ended a link with", quick=True,
    ),
    # -- figures --
    "credit leaks": Mutation(
        (instead(core, "SwitchCore._release_credit", "out_port.sent -= 1", "pass"),),
        "bad network", r"sent, bytes, in flight, bytes", quick=True,
    ),
}  # fmt: skip
