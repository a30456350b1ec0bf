"""Routes about the configuration, and what they need of a router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred

from imxrouter.admin.bodies import optional_flag
from imxrouter.admin.config_views import ConfigView, ReloadView


class ConfigPort(Protocol):
    """The configuration of a router, as operators see it."""

    def reload(self, *, dry_run: bool) -> Deferred[ReloadView] | ReloadView:
        """Read the files again and apply what is new, in all processes; or say what that would do."""

    def show(self) -> ConfigView | Deferred[ConfigView]:
        """Tell what is in force, and where it comes from."""


class HasConfig(Protocol):
    """As much of `AdminPort` as is needed here."""

    @property
    def configuration(self) -> ConfigPort:
        """The configuration."""


#: As `routes.Call`.
Call = Callable[[Any, list[str], Mapping[str, Any]], Any]


def _reload(port: HasConfig, body: Mapping[str, Any]) -> Any:
    return port.configuration.reload(dry_run=optional_flag(body, "dry_run") is True)


#: Merged into those of `routes`.
ROUTES: Final[dict[tuple[str, str], Call]] = {
    ("GET", "config"): lambda port, _parts, _body: port.configuration.show(),
    ("POST", "config/reload"): lambda port, _parts, body: _reload(port, body),
}
