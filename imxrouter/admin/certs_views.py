"""The shapes of what the API answers about certificates; rules as in `views`."""

from __future__ import annotations

from typing import TypedDict

from imxrouter.admin.config_views import ProcessView


class CertView(TypedDict):
    """A certificate of ours; `domains` are those served here for which it is shown."""

    file: str
    names: list[str]
    domains: list[str]
    not_before: float
    not_after: float
    issuer: str
    fingerprint: str


class CertsView(TypedDict):
    """`imxctl certs`: our certificates. `problems` are those of the last try to read the folder.

    `default` is the file that is shown to who asks for no domain of ours. `without` are domains served here
    that no certificate names, the first 1,000 of `without_count`.
    """

    folder: str
    certificates: list[CertView]
    default: str
    without: list[str]
    without_count: int
    problems: list[str]
    warnings: list[str]


class CertsReload(TypedDict):
    """`imxctl certs reload`: files of certificates by what became of them.

    `result` is `swapped`, `unchanged`, or `refused` for `problems`; then all stays as it was. All but
    `processes` is of the process that was asked; one that does not run now is `absent`, one without an answer
    `failed`.
    """

    result: str
    count: int
    added: list[str]
    renewed: list[str]
    removed: list[str]
    problems: list[str]
    warnings: list[str]
    processes: list[ProcessView]


#: For the reference page.
VIEWS: tuple[type, ...] = (CertsView, CertView, CertsReload)
