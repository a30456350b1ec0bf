"""The times and bounds that sections 6 and 8.1 of the mapping name are those that hold."""

from __future__ import annotations

from imxrouter.gateways.xmpp.subscriptions import passing, probes, rounds
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings

DAY_S = 86_400.0


def test_of_who_watches() -> None:
    """Rows w-24, w-25, w-27, w-34, w-36, w-41, tim-duration and tim-back."""
    said = WatcherSettings()
    assert (said.idle_days, said.grace_s, said.fetch_s) == (14, 10.0, 60.0)
    assert (said.errors, said.lapse_s, said.duration_s) == (3, 60.0, 1800)
    assert (said.spread_per_s, said.spread_s) == (20.0, 10.0)


def test_of_who_is_watched() -> None:
    """Rows p-06, p-08, p-10, p-11, p-23, p-24, p-30, p-40, p-42 and tim-coalesce."""
    said = PresentitySettings()
    assert (said.denied_s, said.failed_s, said.late_s) == (DAY_S, 600.0, 7 * DAY_S)
    assert (said.repeat_s, said.refresh_s, said.dormant_days) == (DAY_S, DAY_S, 180)
    assert (said.silent_s, said.early, said.coalesce_s) == (2.0, 200, 0.5)
    assert (said.spread_per_s, said.spread_s) == (20.0, 10.0)


def test_of_probes() -> None:
    """Rows p-26, tim-probe-answers, pas-gone, pas-opened and pas-no-way."""
    assert (probes.FIRST_S, probes.ALL_S, probes.WAITED_S) == (2.0, 5.0, 2.0)
    assert (probes.SILENT_S, probes.SILENT_TRIES) == (2.0, 2)
    assert (probes.OPENED_S, probes.OPENED_AGAIN_S, probes.WAY_S) == (1.0, 5.0, 2.0)
    assert probes.RATE == 1000


def test_of_presence_that_passes() -> None:
    """Rows pas-learn, pas-forget, pas-bounds, pas-spread and pas-unknown."""
    said = passing.PassingSettings()
    assert (passing.PROBED_S, said.idle_days, said.asked_days) == (60.0, 30, 7)
    assert (said.most, said.per_user, said.per_zone) == (100_000, 5_000, 25_000)
    assert (passing.MOST_SHOWN, passing.RESOURCE_BYTES) == (8, 128)
    assert (rounds.SETTLE_S, rounds.WAYS_PER_S) == (1.0, 200.0)
    assert (rounds.SPREAD_PER_S, rounds.SPREAD_S) == (20.0, 10.0)
    assert (rounds.AGAIN.first_s, rounds.AGAIN.cap_s) == (1.0, 900.0)
    assert (rounds.REFUSED, rounds.PACE_BURST, rounds.PACE_S) == (3, 4, 15.0)
    assert rounds.GRACE_S == 5.0
