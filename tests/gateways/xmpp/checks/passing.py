"""Rows of presence that passes: who is remembered, who is asked, and what is told."""

from __future__ import annotations

from imxrouter.gateways.xmpp.subscriptions.passing import PassingSettings
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.streams import test_knocking as knocking
from tests.gateways.xmpp.streams import test_passing as streams
from tests.gateways.xmpp.subscriptions import test_passing as pairs
from tests.gateways.xmpp.subscriptions import test_rounds as rounds
from tests.gateways.xmpp.subscriptions.passing_rig import ALICE, BOB, PassingRig


@rule("pas-learn")
def _who_is_remembered() -> None:
    pairs.test_a_wish_and_its_answer_make_a_pair()
    pairs.test_whom_our_user_lets_watch_or_his_server_tells()
    pairs.test_a_probe_of_our_server_and_its_answer_make_a_pair()
    pairs.test_who_is_watched_by_whom_he_is_shown_to()
    pairs.test_nobody_is_remembered_at_a_strangers_word()
    streams.test_what_was_refused_makes_no_pair()


@rule("pas-forget")
def _who_is_forgotten() -> None:
    for ends in ("unsubscribe", "unsubscribed"):
        pairs.test_a_subscription_that_ends_is_forgotten(ends)
    pairs.test_what_nothing_is_heard_of_is_forgotten()
    pairs.test_domains_that_are_served_no_more()


@rule("pas-bounds")
def _bounds() -> None:
    said = PassingSettings()
    assert (said.most, said.per_user, said.per_zone) == (100_000, 5_000, 25_000)
    for settings, fits in ((PassingSettings(most=3), 3), (PassingSettings(per_zone=4), 4)):
        pairs.test_what_has_no_room_is_not_remembered(settings, fits)
    pairs.test_resources_and_probes_are_bounded()


@rule("pas-kept")
def _what_is_kept() -> None:
    rig = PassingRig()
    rig.friends()
    ((key, value, until),) = rig.store.items("xmpp-passing")
    assert key == f"{ALICE}\n{BOB}".encode()
    assert (value, until) == (b'{"form":1,"granted":true,"day":20833,"shown":["desk"]}', None)


@rule("pas-probe")
def _who_is_asked() -> None:
    streams.test_after_a_start_everybody_is_asked()
    streams.test_after_a_stream_broke_who_spoke_on_it_is_asked()
    streams.test_while_the_router_is_out_of_service_nobody_is_asked()
    streams.test_what_a_stream_brings_is_learned_and_asked_for()
    for how in ("other protocol", "held", "refused"):
        streams.test_who_is_not_to_be_asked_is_not(how)


@rule("pas-spread")
def _when() -> None:
    rounds.test_one_is_asked_first_and_the_rest_spread()
    rounds.test_few_are_asked_at_twenty_a_second()
    rounds.test_while_there_is_no_way_one_is_tried()
    rounds.test_whoever_is_heard_is_asked_at_once()
    rounds.test_after_some_refusals_the_rest_is_left()
    rounds.test_who_breaks_streams_has_little_asked()
    streams.test_what_is_asked_waits_while_there_is_too_much_to_do("calm")


@rule("pas-gone")
def _who_went() -> None:
    rounds.test_what_no_answer_names_is_gone()
    streams.test_resources_that_went_meanwhile_are_taken_back()


@rule("pas-opened")
def _a_way_for_the_answer() -> None:
    for arrived in (True, False):
        rounds.test_what_was_asked_before_there_was_a_way_for_the_answer_is_asked_again(arrived=arrived)
    rounds.test_who_opens_streams_has_little_asked()
    streams.test_a_stream_that_opens_has_lost_answers_asked_for_again()


@rule("pas-no-way")
def _no_way_for_the_answer() -> None:
    rounds.test_while_there_is_no_way_for_the_answer_it_is_waited_for()
    rounds.test_silence_without_a_way_says_nothing_of_him()
    knocking.test_who_has_no_way_is_asked_for_one()
    knocking.test_it_is_asked_for_once_in_a_while()


@rule("pas-unknown")
def _nothing_is_known() -> None:
    rounds.test_watchers_are_told_when_nobody_can_be_asked()
    streams.test_while_he_cannot_be_asked_the_watcher_is_told(streams.DOWN)
    streams.test_who_is_barred_is_told_nothing()
    streams.test_what_has_no_room_says_nothing_of_the_way(failure(Reason.BUSY), 0)
