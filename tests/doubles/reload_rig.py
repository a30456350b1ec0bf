"""A router of a laboratory whose configuration is in a file, so that it can be edited and read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imxrouter.admin.config_views import ReloadView
from imxrouter.config.load import load
from imxrouter.config.schema import Config
from tests.doubles.router_rig import RouterRig


class Reloadable:
    """Edits the file of a router, and has it read again.

    Attributes:
        rig: the router.
        text: what the file says.
    """

    def __init__(self, rig: RouterRig) -> None:
        self.rig = rig
        self.text = rig.text
        rig.file.parent.mkdir(exist_ok=True)
        rig.file.write_text(rig.text)
        loaded = load(rig.file)
        rig.call(lambda: rig.router.reloading.read_from(lambda: load(rig.file), loaded))

    @property
    def config(self) -> Config:
        """What is in force."""
        return self.rig.router.config

    def edit(self, *changes: tuple[str, str], also: str = "", before: str = "") -> Reloadable:
        """Replace texts that stand there once; `also` goes to the end of the file, `before` to its top."""
        for old, new in changes:
            assert self.text.count(old) == 1, f"{old!r} stands {self.text.count(old)} times"
            self.text = self.text.replace(old, new)
        self.text = before + self.text + also
        self.rig.file.write_text(self.text)
        return self

    def reload(self, *, dry_run: bool = False, result: str = "applied") -> ReloadView:
        """Have it read; the result must be the one expected."""
        view: ReloadView = self.rig.call(lambda: self.rig.router.reloading.reload(dry_run=dry_run))
        assert view["result"] == result, view
        return view

    def state(self) -> Mapping[str, Any]:
        """What must stay the same where nothing was changed."""
        router = self.rig.router
        return self.rig.call(  # type: ignore[no-any-return]
            lambda: {
                "config": router.config,
                "domains": set(router.domains),
                "hub": router.hub.settings,
                "policies": router.gatekeeper.policies,
                "pinned": dict(router.pinned),
                "services": router.service_names,
                "links": set(router.hub.sessions),
            }
        )


def lines(view: ReloadView) -> list[str]:
    """The changes in short: mark, place, and when they are obeyed."""
    marks = {"added": "+", "removed": "-", "changed": "~"}
    return [
        f"{marks[one['action']]} {one['table']} {one['entry']} {one['key']}: {one['applies']}"
        for one in view["changes"]
    ]
