"""Routers that look after presence with one check replaced, and what must be noticed of each."""

from __future__ import annotations

import pytest

from imxrouter.routing import subscriptions, watching
from imxrouter.switch import presence
from imxrouter.transport import holding, inside, liveness, watchers
from tests.properties.mutations import Mutation, instead, nothing, without

_UNASKED = r"reached a watcher without a live subscription|told to whom nobody subscribed"
_REMEMBERED = r"keeps .*'subscriptions"


def _boundless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions.Subscriptions, "judge_subscribe", lambda *_args: None)


PRESENCE_MUTATIONS: dict[str, Mutation] = {
    # -- what passes --
    "a notification needs no subscription": Mutation(
        (without("subscribed"),), "presence", _UNASKED, quick=True,
    ),
    "any id of the pair": Mutation(
        (instead(
            presence, "PresenceChecks._judge_notify",
            r'key = b"\0".join((watcher_key, presentity_key, ident))',
            r'begins = b"\0".join((watcher_key, presentity_key, b""))' + "\n"
            "    key = next((one for one in self.table._entries if one.startswith(begins)), begins + ident)",
        ),),
        "presence", _UNASKED, quick=True,
    ),
    "any watcher of the presentity": Mutation(
        (instead(
            presence, "PresenceChecks._judge_notify",
            r'key = b"\0".join((watcher_key, presentity_key, ident))',
            r'ends = b"\0".join((b"", presentity_key, ident))' + "\n"
            "    key = next((one for one in self.table._entries if one.endswith(ends)), ends)",
        ),),
        "presence", _UNASKED, quick=True,
    ),
    "unknown in another domain's name": Mutation(
        (instead(
            presence, "PresenceChecks._judge_notify",
            ' or named.rpartition(b"@")[2] != from_domain', "",
        ),),
        "presence and a liar", r"unknown, says somebody who may not", quick=True,
    ),
    "any number of notifications": Mutation(
        (instead(subscriptions, "Subscriptions.judge_notify", "if wait:", "if False:"),),
        "presence and a liar", r"more than 20 notifications at once",
    ),
    "presence from any source": Mutation(
        (without("source"),),
        "presence and a liar", r"subscribed in another's name|told in another's name", quick=True,
    ),
    # -- one delivery, one true outcome --
    "no duplicates of presence": Mutation(
        (without("duplicates"),), "presence", r"delivered 2 times: (Subscribe|Notify)", quick=True,
    ),
    "an answer over any link to presence": Mutation(
        (without("answer_link"),), "presence and a liar", r"success is said of what nobody took",
    ),
    "a retry of presence that cannot go has failed": Mutation(
        (instead(holding, "Holding.give_up", "if entry[TRIES]:", "if False:"),),
        "presence", r"failure is said of what was delivered", quick=True,
    ),
    # -- how long --
    "a subscription that was told to be over goes on": Mutation(
        (nothing(subscriptions.Subscriptions, "ended"),),
        "presence and a liar", _UNASKED,
    ),
    "a subscription that was refused goes on": Mutation(
        (instead(subscriptions, "Subscriptions.settle", "if not entry.granted and", "if False and"),),
        "presence and a liar", _UNASKED, quick=True,
    ),
    "more is granted than was asked for": Mutation(
        (instead(
            subscriptions, "Subscriptions.settle",
            "end = now + min(granted_s, asked_s)", "end = now + granted_s",
        ),),
        "presence and a liar", _REMEMBERED + r"|prolongs what nobody prolongs",
    ),
    "a router renews for longer than is left": Mutation(
        (instead(
            watchers, "RouterWatchers.subscribe_again", "int(entry.end - self._hub.now())", "900",
        ),),
        "presence", r"prolongs what nobody prolongs", quick=True,
    ),
    # -- what is kept --
    "what ended is not forgotten": Mutation(
        (instead(
            subscriptions, "Subscriptions.sweep",
            "if entry is not None and now >= entry.end + LATE_S and", "if False and",
        ),),
        "presence", _REMEMBERED, quick=True,
    ),
    "any number of subscriptions": Mutation(
        (_boundless,),
        "presence and a liar", r"subscriptions too many are remembered",
    ),
    "what a request would change is not forgotten": Mutation(
        (instead(
            presence, "PresenceChecks.settled",
            "self._changing.pop(entry[KEY], ", "self._changing.get(entry[KEY], ",
        ),),
        "presence", r"keeps .*changes of subscriptions", quick=True,
    ),
    "answers to the router itself are waited for again": Mutation(
        (instead(inside, "InsidePort._take", "del self._waiting[record.route_tag]", "pass"),),
        "presence", r"keeps .*'waiting|answered", quick=True,
    ),
    # -- what watchers see --
    "watchers are not told that nobody knows": Mutation(
        (instead(liveness, "Liveness.failed", "if loss.failed_at is None:", "if False:"),),
        "presence", r"of a host that is cut off",
    ),
    "a domain that leaves a link which stays": Mutation(
        (nothing(liveness.Liveness, "control"),),
        "presence that leaves", r"of a host that is cut off", "more domains",
    ),
    "older states are shown": Mutation(
        (instead(
            watching, "Watching._judge",
            "if newest is not None and (version is None or version < newest):", "if False:",
        ),),
        "presence", r"an older state is shown", quick=True,
    ),
}  # fmt: skip
