"""Two processes of one host in a laboratory: each with a port of its own, so that a test chooses one."""

from __future__ import annotations

from imxrouter.config.load import load
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, RouterRig


def two_processes(lab: Lab, tables: str, **settings: object) -> tuple[RouterRig, RouterRig]:
    """Start both; they know each other once they have said so on their bus.

    Args:
        lab: for both.
        tables: services and domains of both; the first domain is `shop.example`.
        settings: of both, with `_` for `.`.
    """
    shared = {
        "run_dir": str(lab.folder / "run"), "state_dir": str(lab.folder / "state"), "lab": True,
        "listen.reuse_port": True, **{key.replace("_", ".", 1): value for key, value in settings.items()},
    }  # fmt: skip
    one, two = (
        lab.router(
            "shop.example", embedded=False, tables=tables, publish=False,
            settings={**shared, "process": number, "admin.socket": str(lab.folder / name)},
        )
        for number, name in ((0, "admin.sock"), (1, "admin-1.sock"))
    )  # fmt: skip
    lab.publish("shop.example", one.endpoint)
    return one, two


def one_file(one: RouterRig, two: RouterRig) -> Reloadable:
    """Let both read the file of the first one, as workers do."""
    file = Reloadable(one)
    loaded = load(one.file)
    two.call(lambda: two.router.reloading.read_from(lambda: load(one.file), loaded, 1))
    return file
