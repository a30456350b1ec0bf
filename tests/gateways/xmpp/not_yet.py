"""Rows of the mapping that nothing in the code holds yet; the list ends empty."""

from __future__ import annotations

from typing import Final

_ROWS: Final = """
    err-success

    prs-available prs-unavailable prs-unavailable-bare prs-unavailable-ack prs-tuple-id
    prs-tuple-foreign prs-tuple-collide prs-entity prs-contact prs-show-away prs-show-xa
    prs-show-dnd prs-show-chat prs-show-bad prs-act-away prs-act-busy prs-im prs-act-long prs-status
    prs-status-langs prs-status-twice prs-note-whole prs-unavail-status prs-priority
    prs-priority-max prs-priority-back prs-priority-none prs-priority-negative prs-priority-bad
    prs-delay prs-timestamp-none prs-ext prs-ext-more prs-ext-reserved prs-pidf-ext prs-resources
    prs-split prs-vanish prs-closed prs-no-basic prs-no-tuples prs-none-made prs-max prs-unknown
    prs-unknown-own prs-unknown-once prs-unknown-over prs-unknown-never prs-error-in prs-probe
    prs-id prs-to-resource prs-leak

    tim-duration tim-grant tim-renew tim-probe-answers tim-coalesce

    att-vcard-get att-vcard4-get att-fn att-vcard att-none att-no-user att-set att-presence
    att-cache att-disco-domain att-disco-user att-disco-resource att-disco-items att-caps att-ping

    w-01 w-02 w-03 w-04 w-05 w-06 w-07 w-08 w-09 w-10 w-11 w-12 w-13 w-14 w-15 w-16 w-17 w-18 w-19
    w-20 w-21 w-22 w-23 w-24 w-25 w-26 w-27 w-28 w-29 w-30 w-31 w-32 w-33

    p-01 p-02 p-03 p-04 p-05 p-06 p-07 p-08 p-09 p-10 p-11 p-12 p-13 p-14 p-15 p-16 p-17 p-18 p-19
    p-20 p-21 p-22 p-23 p-24 p-25 p-26 p-27 p-28 p-29 p-30 p-31 p-32 p-33 p-34 p-35 p-36 p-37 p-38
"""

#: By sections of the page, in their order.
NOT_YET: Final = frozenset(_ROWS.split())
