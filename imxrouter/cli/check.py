"""`imxctl check`: whether a domain can be reached, stage by stage; only `--as` needs a router."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live, tell
from imxrouter.model.domain import BadDomain, Domain

if TYPE_CHECKING:
    from imxrouter.probe.check import Terms
    from imxrouter.probe.report import CheckView, EvidenceView, FailureView, ProtocolView, StageView

#: Facts that the other columns tell already.
_TOLD = frozenset({"host", "ip", "family", "port", "answer", "records", "instance"})


@click.command()
@click.argument("name", metavar="DOMAIN")
@click.option(
    "--timeout", "timeout_s", metavar="SECONDS", type=click.FloatRange(0, 600, min_open=True), default=5.0,
    show_default=True, help="For each question to DNS, each connection and each hello.",
)  # fmt: skip
@click.option(
    "--nameserver", "name_servers", metavar="ADDRESS[:PORT]", multiple=True,
    help="Ask this name server in place of the system's; may be repeated.",
)  # fmt: skip
@click.option("--lab", is_flag=True, help="Dial private and loopback addresses and low ports too.")
@click.option(
    "--tls",
    is_flag=True,
    help="Speak TLS even where the domain's record does not ask for it; one that says `none` fails.",
)
@click.option(
    "--trust", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="PEM file of an authority to be trusted in place of the system's; may be repeated.",
)  # fmt: skip
@click.option(
    "--protocol", type=click.Choice(["imx", "xmpp"]),
    help="Check this one alone; XMPP then also at the address of a domain without records.",
)  # fmt: skip
@click.option(
    "--as", "ours", metavar="OURS",
    help="Ask the running router to check as this domain of ours: its policy, dial-back, a round trip.",
)  # fmt: skip
@live
def check(
    shared: Context, name: str, timeout_s: float, name_servers: tuple[str, ...], lab: bool, tls: bool,
    trust: tuple[str, ...], protocol: str | None, ours: str | None,
) -> None:  # fmt: skip
    """Check whether a domain's routers can be reached, and explain the first failure.

    From outside, without a router: looks the domain up, connects to every address of every router of it,
    speaks TLS and judges the certificate where the domain's record asks for it (or --tls does), exchanges
    hellos, and closes. Where it publishes XMPP, the same with its servers: TLS always, a stream, and a
    question about a dial-back key that nobody made. It claims nothing and sends no message. With --as OURS
    the running router does the same its own way, then proves OURS there and sends an echo from OURS itself to
    DOMAIN itself, which no user sees; by XMPP it proves OURS to each server by dial-back and by certificate,
    and sends nothing. Stages that are not tried say why. The exit code is 0 where
    at least one way leads to a router; then the result is `good`, or `partly` where other ways fail.
    """
    try:
        domain, source = Domain.parse(name), Domain.parse(ours) if ours else None
    except BadDomain as error:
        raise click.UsageError(str(error)) from None
    if source is not None:
        if lab or name_servers or tls or trust or protocol:
            raise click.UsageError("--as asks a router, which has name servers and rules of its own")
        _told(shared, cast("CheckView", shared.client.check(domain.name, source.name, timeout_s)))
        return
    from imxrouter.probe.check import Terms  # noqa: PLC0415 - loads Twisted, which other commands do without

    terms = Terms(timeout_s, lab, name_servers, tls, trust or ("system",))
    _told(shared, _run(shared, domain, terms, protocol))


def _told(shared: Context, view: CheckView) -> None:
    if shared.json:
        output.as_json(view)
    else:
        _show(view)
    if view["result"] == "failed":
        raise click.exceptions.Exit(Exit.FAILED)


def _run(shared: Context, domain: Domain, terms: Terms, protocol: str | None) -> CheckView:
    """Run a reactor for as long as the check takes."""
    from twisted.internet.task import react  # noqa: PLC0415 - as in check

    from imxrouter.probe.check import BadAnchors, BadNameServer  # noqa: PLC0415 - as in check
    from imxrouter.probe.every import PROTOCOLS, check_all  # noqa: PLC0415 - as in check

    views: list[CheckView] = []
    problems: list[str] = []
    interrupted = False

    async def until_done(reactor: Any) -> None:
        reactor.addSystemEventTrigger("before", "shutdown", stopping)
        try:
            wanted = PROTOCOLS if protocol is None else (protocol,)
            views.append(await check_all(reactor, domain, terms, wanted))
        except (BadNameServer, BadAnchors) as error:
            problems.append(str(error))

    def stopping() -> None:
        """Before anything is cut: whatever comes afterwards was not seen, but made by the end."""
        nonlocal interrupted
        interrupted = not views and not problems

    with contextlib.suppress(SystemExit):  # react leaves so in any case
        react(until_done)
    if problems:
        tell(shared, problems[0], "", "name one with --nameserver ADDRESS[:PORT]")
        raise click.exceptions.Exit(Exit.USAGE if terms.name_servers else Exit.FAILED)
    if interrupted or not views:
        raise click.exceptions.Exit(Exit.INTERRUPTED if interrupted else Exit.FAILED)
    return views[0]


# -- for people ------------------------------------------------------------------------------------------


def _show(view: CheckView) -> None:
    for one in _told_of(view):
        if len(_told_of(view)) > 1 or one["protocol"] != "imx":
            click.echo(output.clean(f"{one['protocol']}: {one['result']}"))
        for stage in one["stages"]:
            _show_stage(stage)
    failure = view["failure"]
    if failure is None:
        click.echo(f"{view['domain']}: good")
    elif view["result"] == "failed":
        output.problem(f"{view['domain']}: {_words(failure)}", failure["remedy"])
    else:
        click.echo(output.clean(f"{view['domain']}: partly: {_words(failure)}"))
        click.echo(f"       {failure['remedy']}")


def _told_of(view: CheckView) -> list[ProtocolView]:
    """The protocols that the domain publishes or may publish; where none is for sure, the first of them."""
    rows = [one for one in view["protocols"] if one["published"] is not False]
    return rows if any(one["published"] for one in rows) else (rows or view["protocols"])[:1]


def _words(failure: FailureView) -> str:
    """`REASON at stage STAGE: WHAT (NOTE)`, and where it was seen if that is another stage."""
    seen = "" if failure["step"] == failure["stage"] else f", seen at {failure['step']}"
    note = f" ({failure['note']})" if failure["note"] else ""
    again = f"; try again after {failure['retry_after_s']} s" if failure["retry_after_s"] else ""
    return f"{failure['reason']} at stage {failure['stage']}{seen}: {failure['what']}{note}{again}"


def _show_stage(stage: StageView) -> None:
    told = stage["why"] or _facts(stage["facts"])
    click.echo(
        output.clean(f"{stage['stage']:<9} {stage['state']:<10} {_time(stage['took_s'])} {told}".rstrip())
    )
    for item in stage["evidence"]:
        click.echo(output.clean(f"  {_line(item)}".rstrip()))


def _line(item: EvidenceView) -> str:
    facts = item["facts"]
    seen = ", ".join(facts.get("records", ())) or facts.get("answer", "" if item["reason"] else "good")
    note = f"({item['note']})" if item["note"] else ""
    parts = [f"{item['what']}:", seen, item["reason"], note, _facts(facts)]
    return f"{_time(item['took_s'])}  {' '.join(part for part in parts if part)}"


def _facts(facts: Mapping[str, Any]) -> str:
    shown = {
        name: value for name, value in facts.items() if name not in _TOLD and value not in ("", [], None)
    }
    return " ".join(f"{name}={_value(value)}" for name, value in shown.items() if value is not False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def _time(seconds: float | None) -> str:
    return f"{'-':>9}" if seconds is None else f"{seconds * 1000:>6.1f} ms"
