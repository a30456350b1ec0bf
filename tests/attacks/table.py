"""`docs/specs/attacks.md`: every attack that is carried out, its check, what comes of it with and without.

    python -m tests.attacks.table [--check]

Attack and check are the words of the tests themselves; what comes of it stands here.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).parents[2] / "docs/specs/attacks.md"

#: Title of each file's part, in the order of the page.
PARTS: Final = {
    "test_tls": "Hijacked names, men in the middle, certificates",
    "test_delegation": "Hosted customers and DANE",
    "test_tls_replays": "What belongs to another session, link or certificate",
    "test_stripping": "Down-grades",
    "test_ends": "What has ended",
    "test_redirects": "Redirects",
    "test_hosts": "Hosts of one domain",
    "test_claims": "Dial-back",
    "test_streams": "Proofs on XMPP streams",
    "test_components": "Bridges that are components of XMPP",
    "test_gateways": "Gateways at an operator's server",
    "test_stanzas": "XML and stanzas",
    "test_senders": "Senders and relays",
    "test_access": "Ways round a block",
    "test_answers": "Answers",
    "test_replays": "Replays",
    "test_logins": "Logins of services",
    "test_presence": "Presence",
    "test_passing": "Presence that passes",
    "test_dialling": "Dialling at a stranger's word",
    "test_poisoning": "Poisoned limits and memories",
    "test_floods": "Floods",
    "test_limits": "Limits in layers",
    "test_crowds": "Crowds",
    "test_stream_words": "Words on XMPP streams",
    "test_stream_restarts": "XMPP streams that begin anew",
    "test_stream_costs": "What XMPP streams may cost",
}

#: Test -> what comes of the attack with every check, and without the one that is named.
OUTCOMES: Final = {
    "test_stranger_who_has_himself_asked": ("nobody is asked", "his server is asked, in her name"),
    "test_stranger_whom_nobody_lets_watch": ("nobody is asked", "her server is asked, in his name"),
    "test_stranger_who_breaks_streams": (
        "four rounds, then one in 15 s", "a round for each, of all of both domains"),
    "test_stranger_who_fills_the_table_of_pairs": (
        "his zone has a quarter of it; `no-room` counted", "no other pair is remembered"),
    "test_blocked_presentity_who_is_asked_for": ("`refused` counted", "he is asked, and learns of her"),
    "test_component_in_anothers_name": (
        "`invalid-from`; the stream ends", "she writes as the other bridge's user"),
    "test_component_that_guesses_the_secret": (
        "`not-authorized`, `login-failed` counted", "he writes as the bridge's users"),
    "test_component_that_says_a_proof_again": (
        "`not-authorized`, `login-failed` counted", "he writes as the bridge's users"),
    "test_component_that_speaks_before_its_proof": ("`not-authorized`", "he writes as the bridge's users"),
    "test_component_from_elsewhere": (
        "the connection is cut; `relay-denied` counted", "he writes as the bridge's users"),
    "test_component_that_takes_the_place_of_another": ("`conflict`", "he gets some of its messages"),
    "test_gateway_for_a_stranger": ("`relay-denied`, told and counted", "Bob gets her message from us"),
    "test_gateway_address_as_a_sender": ("`relay-denied`, told and counted", "she writes as Eve"),
    "test_gateway_address_in_another_spelling": (
        "`bad-address`, with the right one", "Bob gets her message"),
    "test_gateway_back_to_the_server": ("`loop`", "Dave gets her message, from her gateway address"),
    "test_gateway_to_itself": ("`loop`; nobody is dialled", "she is dialled in the gateway's name"),
    "test_gateway_beyond_its_list": ("`relay-denied`", "Bob gets the message"),
    "test_sender_at_the_gateways_name": (
        "`service-down`; nothing is written", "Alice gets it, from an address that is nobody's"),
    "test_entities_that_grow": ("`restricted-xml`", "the stanza is read and expanded"),
    "test_stanza_without_an_end": ("`policy-violation`", "all of it is kept"),
    "test_attributes_by_the_thousand": ("`policy-violation`", "all of them are read"),
    "test_elements_in_each_other": ("`policy-violation`", "all of them are kept"),
    "test_names_by_the_thousand": ("the memory stays as it is", "it grows with each name"),
    "test_foreign_form_in_anothers_name": ("`bad-body`", "he writes as Eve"),
    "test_answer_that_nobody_asked": ("dropped, `unasked` counted", "it reaches her"),
    "test_questions_that_nobody_answers": ("his are `busy`, hers goes on", "hers is `busy` as well"),
    "test_errors_that_answer_errors": ("nothing is said", "the servers answer each other for ever"),
    "test_stream_key_that_is_guessed": ("`invalid`, `bad-token` counted", "it is hers"),
    "test_stream_key_on_another_stream": (
        "`invalid`, `dialback-refused`; stream error `not-authorized`", "his stream is taken for hers"),
    "test_stream_key_of_another_domain": (
        "`invalid`, `bad-token` counted; stream error `not-authorized`", "his stream is taken for hers"),
    "test_stream_answer_of_somebody_else": (
        "ignored, `bad-token` counted; after 16 `policy-violation`", "his stream is taken for hers"),
    "test_stream_key_of_whom_the_certificate_does_not_name": (
        "`certificate-refused`; nobody is dialled", "his stream is taken for hers"),
    "test_stream_key_under_the_policy_of_a_certificate": (
        "`certificate-refused`; nobody is dialled", "his stream is taken for hers"),
    "test_stream_external_with_a_certificate_of_somebody_else": (
        "EXTERNAL is not offered; `<not-authorized/>`", "his stream is taken for hers"),
    "test_stream_external_for_another_name": (
        "`<invalid-authzid/>`", "`<success/>`; her domain is not proved all the same"),
    "test_stream_in_clear_where_tls_is_asked_for": (
        "`weaker-than-policy`; nobody is dialled", "his stream is taken for hers"),
    "test_stream_of_a_domain_that_is_served_here": (
        "`served-here`; nobody is dialled", "he writes as Bob"),
    "test_stream_whose_tls_is_taken_away": ("`tls-failed`; not even a key is sent", "he gets the message"),
    "test_streams_that_make_us_dial": ("`dial-limit`", "each one is dialled"),
    "test_by_case": ("`not-delivered`", "Bob gets the message"),
    "test_by_alias": ("`not-delivered`", "the message passes"),
    "test_by_sub_domain": ("`not-delivered` at the claim; nobody is dialled", "his message passes"),
    "test_by_open_link": ("`not-delivered`", "his messages pass"),
    "test_by_proved_domain": ("the proof ends; `not-delivered` at the next claim", "the domain stays proved"),
    "test_second_connection_of_long_ago": ("`not-proved`", "he writes as Bob"),
    "test_service_whose_certificate_is_at_an_end": (
        "`login-failed`; the link ends", "he goes on as the tenant"),
    "test_service_whose_key_is_taken_away": ("`not-proved`", "he writes as the tenant"),
    "test_by_waiting": ("`not-delivered`; it does not leave", "he gets the message"),
    "test_hijacked_recipient": ("`certificate-refused`; no record is sent", "he gets the message"),
    "test_hijacked_sender": ("`certificate-refused`; the claim fails", "his message is taken for hers"),
    "test_man_in_the_middle_of_the_first_connection": (
        "the answer is wrong; `dialback-timeout`", "he reads every message"),
    "test_man_in_the_middle_by_an_older_tls": ("`weaker-than-remembered`", "he reads every message"),
    "test_man_in_the_middle_with_a_certificate_of_his_own": (
        "`certificate-refused`", "he reads every message"),
    "test_man_in_the_middle_of_the_second_connection": (
        "`certificate-refused`; no record is sent", "his message is taken for Bob's"),
    "test_delegation_that_nobody_signed": (
        "`delegation-insecure`; no record is sent", "he gets the message"),
    "test_claim_by_a_delegation_that_nobody_signed": (
        "`delegation-insecure`; the claim fails", "his message is taken for hers"),
    "test_certificate_that_a_public_authority_gave_away": ("`dane-mismatch`", "he gets the message"),
    "test_stranger_where_no_certificate_is_asked_for": ("`dane-mismatch`", "he gets the message"),
    "test_hidden_tlsa_records": ("`dns-failure`", "he gets the message"),
    "test_forged_answer_of_a_second_resolver": ("`dns-failure`", "the forged answer is used"),
    "test_stripped_tls": ("`tls-failed`", "the message goes in clear"),
    "test_tls_on_one_side_only": ("`tls-view-mismatch`; the claim fails", "he reads every message"),
    "test_stripped_dns": ("`tls-failed`, or `weaker-than-policy` where the record says none",
        "the message goes in clear"),
    "test_stripped_capabilities": ("the answer is wrong; `dialback-timeout`", "he reads every message"),
    "test_servfail": ("`dns-failure`", "the record that he answers is used"),
    "test_redirect_to_the_attacker": ("ignored, counted; the link stays", "messages go to him"),
    "test_redirect_twice_in_a_row": ("ignored, counted", "the links go back and forth"),
    "test_login_of_another_session": ("`login-failed`", "he gets the service's messages"),
    "test_answer_of_another_session": ("a wrong answer is counted", "he is taken for Alice"),
    "test_answer_of_another_link": ("a wrong answer is counted", "he is taken for Alice"),
    "test_result_of_another_link": ("it changes nothing", "Alice's claim is refused"),
    "test_claim_by_a_certificate_that_is_no_good": (
        "`certificate-refused`; nobody is dialled", "his message is taken for hers"),
    "test_redirect_to_another_domains_certificate": ("ignored; no record is sent", "the next message is his"),
    "test_redirect_to_a_lower_level": ("ignored; no record is sent", "the next message is his"),
    "test_redirects_again_and_again": ("one connection", "a hundred connections"),
    "test_verification_over_a_redirected_link": ("a new connection is opened", "the redirected one verifies"),
    "test_subscriptions_from_a_stranger": ("`protocol-error`", "he is told his presence"),
    "test_a_login_with_the_key_of_other_hosts": ("`login-failed`", "he is taken for a host of ours"),
    "test_token_of_one_pair_presented_for_another": ("`dialback-refused`", "he is taken for Bob's router"),
    "test_foreign_second_connection_with_a_stolen_token": ("nothing is taken there", "he is taken for Alice"),
    "test_guessed_answer": ("a wrong answer is counted", "he is taken for Alice"),
    "test_replayed_answer": ("a wrong answer is counted", "he is taken for Alice"),
    "test_success_without_a_proof": ("nothing is sent there", "he gets what waits for Alice"),
    "test_stolen_data_by_proved": ("PROVED is ignored", "he gets what is for Alice"),
    "test_domains_of_one_host_do_not_speak_for_each_other": ("`not-proved`", "he writes as Alice"),
    "test_verification_over_a_link_of_another_domain": ("a new connection is opened", "he verifies himself"),
    "test_answer_over_a_link_that_was_not_asked": ("dropped and counted", "a false success"),
    "test_answer_diverted": ("dropped", "he gets her answer"),
    "test_spoofed_sender": ("`not-proved`", "he writes as Alice"),
    "test_internal_stanza_over_a_link": ("`type-not-enabled`", "his stanza reaches the service unread"),
    "test_sender_of_another_customer": ("`not-proved`", "one customer writes as another"),
    "test_claim_for_a_domain_served_here": ("`served-here`, without a dial", "he writes as a user of ours"),
    "test_relay_through_us": ("`relay-denied`", "his message goes out in our name"),
    "test_wishes_to_watch_without_end": (
        "`policy-violation`; `rate-limited` counted", "each of them is asked, and asked again"),
    "test_presence_read_in_a_friends_name": ("`not-proved`", "he reads Bob's presence"),
    "test_message_again_over_another_link": ("delivered once", "delivered twice"),
    "test_id_with_another_content": ("`id-reused`", "the second is taken for the first"),
    "test_id_used_up_by_another": ("the true message is delivered", "the true message is refused"),
    "test_login_with_another_key": ("`login-failed`", "he gets the shop's messages"),
    "test_replayed_login": ("`login-failed`", "he gets the shop's messages"),
    "test_login_in_clear_outside_of_a_laboratory": ("`login-failed`", "a login that everybody could read"),
    "test_presence_in_anothers_name": ("`not-proved`", "a false state is shown"),
    "test_presence_that_nobody_asked_for": ("`not-subscribed`", "an advertisement is shown"),
    "test_a_document_about_somebody_else": ("`bad-body`", "a false state is shown"),
    "test_unknown_about_somebody_elses_user": ("`bad-record`", "Alice seems unknown"),
    "test_presence_asked_for_in_a_friends_name": ("`not-proved`", "he reads Bob's presence"),
    "test_presence_for_whom_the_rules_do_not_name": ("pending; nothing is told", "she reads Bob's presence"),
    "test_reflection": ("so many connections and no more", "one connection for each claim"),
    "test_bytes_of_a_stranger_at_a_victim": ("a hello and nothing else", "his bytes reach the port"),
    "test_refused_addresses": ("`address-refused`", "our own network is dialled"),
    "test_refused_tokens": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_failed_connections": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_own_traffic": ("Bob's message goes out at once", "Bob's message waits for a back-off"),
    "test_limit_of_a_source": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_limit_of_a_target": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_cap_of_a_peer": ("Alice's link is taken", "Alice's link is refused"),
    "test_connections_of_strangers": ("Alice's link is taken", "Alice's link is refused"),
    "test_total_of_verifications": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_limit_of_a_zone": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_memory_of_duplicates": ("Alice's messages are taken", "Alice's messages are refused"),
    "test_links_that_only_verify": ("Alice's claim is verified", "Alice's claim is refused"),
    "test_a_crowd_that_speaks_at_one_time": ("one is read in a turn", "all are read in one turn"),
    "test_handshakes_without_end": (
        "they wait; a peer that is known is served at once", "each has its handshake"),
    "test_handshakes_of_one_network_before_others": (
        "a stranger is served after one of them", "after all of them"),
    "test_handshakes_that_nobody_makes_wait_for_ever": ("they are cut", "they keep their places"),
    "test_handshakes_for_who_has_gone": ("none is made", "all are made"),
    "test_a_proved_link_that_floods": ("4,096 bytes at a time", "whole reads"),
    "test_connecting_again_and_again": ("`over-cap`", "each connection is served"),
    "test_refused_and_back_at_once": ("some are told, the others closed", "a link is made for each"),
    "test_strangers_from_many_networks": ("a peer's new link is taken", "a peer's new link is refused"),
    "test_a_peer_over_its_rate": ("`over-rate`, told as `busy`", "everything is passed on"),
    "test_a_link_over_its_rate": ("`over-rate`, then it is read slowly", "everything is passed on"),
    "test_a_tenant_over_its_rate": ("`over-rate`, told as `busy`; others go on", "everything is passed on"),
    "test_one_recipient_is_flooded": (
        "`recipient-limit`, told as `busy`; friends get through", "Bob gets everything"),
    "test_a_sender_who_does_not_wait": ("`rate-limited` for longer", "some of it gets through all the time"),
    "test_more_than_the_router_can_do": ("`overloaded`, told as `busy`, in this order", "everything is late"),
    "test_large_record_before_a_proof": ("`protocol-error` at its header", "its bytes are kept"),
    "test_claims_before_a_proof": ("`too-many-claims`", "each one is looked up"),
    "test_refused_again_and_again": ("the link ends", "it goes on"),
    "test_a_hello_byte_by_byte": ("`hello-timeout`", "the connection stays"),
    "test_answers_that_nobody_reads": ("`unread-answers`", "memory grows"),
    "test_answers_that_nobody_acknowledges": ("`unread-answers`", "memory grows"),
    "test_stanza_before_authentication": ("stream error `not-authorized`", "he writes as Alice"),
    "test_forged_sender_on_a_stream": ("stream error `invalid-from`", "he writes as Alice"),
    "test_inside_behaviour_on_the_outside": (
        "stream error `host-unknown`", "he is spoken to as a server of ours"),
    "test_bytes_in_clear_behind_starttls": (
        "stream error `not-authorized`", "what came in clear is read as if it came in TLS"),
    "test_another_domain_after_tls": ("stream error `invalid-from`", "the stream goes on as Alice's"),
    "test_second_header_in_clear": ("stream error `not-authorized`", "the stream goes on as Alice's"),
    "test_second_header_behind_a_proof": (
        "stream error `not-authorized`", "the stream goes on as Alice's; hers is not proved all the same"),
    "test_another_target_after_tls": (
        "stream error `improper-addressing`", "the stream goes on to the other domain"),
    "test_another_namespace_after_tls": ("stream error `invalid-namespace`", "the stream goes on"),
    "test_another_domain_after_a_proof": (
        "stream error `invalid-from`", "the stream goes on as Alice's; hers is not proved all the same"),
    "test_proof_in_clear_that_is_kept_in_tls": (
        ("`<failure/>` of STARTTLS, the stream and the connection end (RFC 6120 section 5.4.2.2);"
        " `protocol-error` counted"),
        "it counts as proved in TLS"),
    "test_authentication_behind_a_claim": ("stream error `not-authorized`", "he is heard, and may try again"),
    "test_stripped_starttls": (
        "`weaker-than-policy`; nothing but a header is said", "the message goes in clear"),
    "test_entities_from_one_address": (
        "nothing is left of two hundred streams", "the parser of each is kept"),
    "test_entities": ("stream error `restricted-xml` each time; memory stays flat", "his entities are kept"),
    "test_stanza_without_end": (
        "stream error `policy-violation` each time; memory stays flat", "its bytes are kept"),
    "test_questions_without_end": ("stream error `policy-violation`", "each one is looked up"),
    "test_a_header_byte_by_byte": ("stream error `connection-timeout`", "the connection stays"),
    "test_inside_listener_for_a_stranger": (
        "cut, `relay-denied` counted", "he is believed to be the server of Bob's domain"),
    "test_more_is_acknowledged_than_was_sent": (
        "stream error `undefined-condition` with `handled-count-too-high`; the message is `link-lost`",
        "the message counts as delivered"),
    "test_certificate_of_one_domain_for_another": (
        "`certificate-refused`; nobody is dialled", "her domain is proved on his stream"),
    "test_stream_of_one_domain_for_another": (
        "`certificate-refused`; nothing is said", "he gets the message"),
    "test_a_million_attributes": (
        "stream error `policy-violation` each time; memory stays flat", "all of them are kept"),
    "test_a_million_names": (
        "stream error `policy-violation` on each stream; memory stays flat", "all of them are kept"),
}  # fmt: skip

_HEAD: Final = """\
# Attacks

Each of these is carried out over real sockets, twice: with every check on, and with the one that stops it
taken away, where it must succeed; so each check is shown to be the one that counts. Mallory attacks; Alice is
at a.example, Bob at b.example. Sections are those of the [protocol](imx-protocol.md); reasons are told alike
in logs, metrics, traces and `imxctl check`. The tests are in `tests/attacks/`; this page is made from their
words (`python -m tests.attacks.table`).
"""

#: Stream error that a row names -> section of RFC 6120, and for what it is defined there.
STREAM_ERRORS: Final = {
    "conflict": ("4.9.3.3", "a second stream where one is taken"),
    "connection-timeout": ("4.9.3.4", "the other side is believed to be lost"),
    "host-unknown": ("4.9.3.6", "the header is to a domain that is not served"),
    "improper-addressing": (
        "4.9.3.7", ("an address that is none or is missing; of a header that goes on to another domain that"
        " is served too, as Prosody says it: no condition is defined for that")),
    "invalid-from": ("4.9.3.9", "`from` is not what was proved"),
    "invalid-namespace": ("4.9.3.10", "another content namespace than the listener's"),
    "not-authorized": (
        "4.9.3.12", ("anything before a proof, and what may not be said at this step of the negotiation; a"
        " wrong secret (XEP-0114 section 3), a key that is not good, after which a stream must be closed"
        " (XEP-0220 section 2.2.1)")),
    "policy-violation": ("4.9.3.14", "more than a limit lets through, of bytes, names or attempts"),
    "restricted-xml": ("4.9.3.18", "document types and entities, comments, instructions (section 11.1)"),
    "undefined-condition": (
        "4.9.3.21", "only beside a condition of its own: `handled-count-too-high` (XEP-0198 section 4)"),
}  # fmt: skip


class Attack(NamedTuple):
    """One row.

    Attributes:
        test: the test's name.
        what: what Mallory does.
        check: what stops him.
    """

    test: str
    what: str
    check: str


def attacks(part: str) -> list[Attack]:
    """Those of one file that run with and without their check, in its order."""
    tree = ast.parse((Path(__file__).parent / f"{part}.py").read_text(encoding="utf-8"))
    found = []
    for one in tree.body:
        if not isinstance(one, ast.FunctionDef) or not one.name.startswith("test_"):
            continue
        words = " ".join((ast.get_docstring(one) or "").split())
        what, sign, check = words.partition(" Check: ")
        if sign:
            found.append(Attack(one.name, what, check))
    return found


def page() -> str:
    """The whole page.

    Raises:
        KeyError: nobody says what comes of an attack.
    """
    parts = [_HEAD]
    for part, title in PARTS.items():
        rows = [
            f"| {one.what} | {one.check} | {OUTCOMES[one.test][0]} | {OUTCOMES[one.test][1]} | `{one.test}` |"
            for one in attacks(part)
        ]
        head = ["| attack | check | with it | without it | test |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {title}", "", *head, *rows, ""]))
    return "\n".join([*parts, _stream_errors()])


def _stream_errors() -> str:
    rows = [f"| `{name}` | {where} | {what} |" for name, (where, what) in STREAM_ERRORS.items()]
    head = ["| condition | RFC 6120 | for |", "| --- | --- | --- |"]
    return "\n".join(["## Stream errors that end these streams", "", *head, *rows, ""])


def main(arguments: list[str]) -> int:
    """Write the page, or see that it is what would be written."""
    text = page()
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
