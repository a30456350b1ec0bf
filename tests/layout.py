"""The plan of the house as tables, and the reader of imports that holds the code to it.

`test_layout.py` applies it; `python -m tests.layout` writes the tables into `docs/architecture.md`.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "imxrouter"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

# Room -> what it may import of ours. "a/b" names a room or one module of a room. Rooms are listed from the
# bottom of the house to its top, and may only name what stands above them in this table: that alone makes
# a circle impossible. A room inside another one has a row of its own, and is not part of the outer one.
ARROWS: Mapping[str, tuple[str, ...]] = {
    "model": (),
    "formats": ("model",),
    "wire": ("model",),
    "link": ("wire", "model"),
    "routing": ("model",),
    "switch": ("wire", "link", "routing", "model"),
    "discovery": ("model",),
    "tls": ("model",),
    "store": ("routing", "model"),
    "telemetry": ("model",),
    "config": ("model",),
    "transport": ("switch", "link", "wire", "routing", "formats", "discovery", "tls", "telemetry", "model"),
    "gateways/embedded": ("routing", "formats", "store", "model"),
    "gateways/xmpp": ("link", "routing", "formats", "discovery", "tls", "telemetry", "model"),
    "gateways/xmpp/streams": (
        "gateways/xmpp",
        "transport",
        "switch",
        "link",
        "wire",
        "routing",
        "formats",
        "discovery",
        "tls",
        "telemetry",
        "model",
    ),
    "gateways/sip": ("routing", "formats", "discovery", "tls", "telemetry", "model"),
    "probe": ("transport", "gateways/xmpp/streams", "gateways/sip/sockets", "discovery", "tls", "model"),
    "admin": ("routing", "telemetry", "model"),
    "cli": ("config", "probe", "wire", "model", "admin/client"),
    "app": ("*",),
    "tap": ("*",),
    "lab": ("*",),
}

# Bytes and decisions: no reactor, socket, clock, chance, thread, file or logger. Time, random bytes and
# facts are handed in as arguments.
PURE_ROOMS = ("model", "formats", "wire", "link", "routing", "switch", "config")

# Rooms with a pure half -> the modules that do I/O. Every other module there is pure, a new one as well.
OUTER_MODULES: Mapping[str, tuple[str, ...]] = {
    "discovery": ("adapter", "backend", "finder", "rdata"),  # dnspython and Twisted
    "gateways/embedded": ("service",),
    "gateways/xmpp": ("streams",),
    "gateways/sip": ("sockets",),
}

IMPURE_MODULES = frozenset(
    {
        # the outside
        "twisted", "asyncio", "socket", "socketserver", "select", "selectors", "ssl", "OpenSSL", "dns",
        "http", "urllib.request", "sqlite3", "subprocess", "multiprocessing", "signal", "os", "pathlib",
        "tempfile", "shutil",
        # threads
        "threading", "_thread", "concurrent", "queue",
        # clocks
        "time", "sched",
        # chance
        "random", "secrets", "uuid",
        # loggers and metrics
        "logging", "syslog", "prometheus_client",
    }
)  # fmt: skip

# Room or module -> impure modules it may use all the same, with the reason.
PURE_EXCEPTIONS: Mapping[str, frozenset[str]] = {
    "config": frozenset({"pathlib"}),  # reads its own files, and writes its own reference page
    "model/generated": frozenset({"pathlib"}),  # writes reference pages from the tables of the code
}

# Calls that read a clock although their module is harmless.
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})

# Only these may name the reactor; everybody else is handed one.
REACTOR_ROOMS = ("app", "tap", "lab")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: the dotted module or name as absolute path, and where it stands."""

    target: str
    line: int


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_files() -> list[Path]:
    """Return every Python file of the package."""
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def room_of(module: str) -> str | None:
    """Return the room that a dotted module of ours lies in, None for the package itself.

    A room inside another one is found before that one.

    `imxrouter.gateways` alone is a corridor, not a room; it is returned as "gateways", which no table
    allows anybody to import.
    """
    parts = module.split(".")[1:]
    if not parts:
        return None
    if "/".join(parts[:3]) in ARROWS:
        return "/".join(parts[:3])
    if parts[0] == "gateways" and len(parts) > 1:
        return "/".join(parts[:2])
    return parts[0]


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Yield every import of a source text, wherever it stands.

    Imports inside functions and under TYPE_CHECKING count like any other; relative ones are made absolute.
    `from a import b` gives `a.b`, for b may be a module.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package[: len(package) - (node.level - 1)]
                base = ".".join([*start, base] if base else start)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)


def is_within(target: str, module: str) -> bool:
    """Say whether a dotted name is that module or lies in it."""
    return target == module or target.startswith(module + ".")


def is_pure(module: str) -> bool:
    """Say whether a module of ours belongs to the pure part of the house."""
    room = room_of(module)
    if room in PURE_ROOMS:
        return True
    if room is None or room not in OUTER_MODULES:
        return False
    inside = module.split(".")[1 + len(room.split("/")) :]
    return bool(inside) and inside[0] not in OUTER_MODULES[room]


def arrow_allowed(room: str, target: str) -> bool:
    """Say whether a room may import this dotted name of ours."""
    target_room = room_of(target)
    if target_room is None or target_room == room or is_within(target, f"{PACKAGE}.__version__"):
        return True
    allowed = ARROWS.get(room, ())
    if "*" in allowed:
        order = list(ARROWS)
        return target_room in order and order.index(target_room) < order.index(room)
    return any(is_within(target, f"{PACKAGE}.{entry.replace('/', '.')}") for entry in allowed)


def import_faults(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield a sentence for each import that the plan does not allow."""
    room = room_of(module)
    if room is not None and room not in ARROWS and not (room == "gateways" and is_package):
        yield f"{module}: {room} is not a room of the plan"
        return
    pure = is_pure(module)
    inside = module.removeprefix(PACKAGE + ".").replace(".", "/")
    excepted = (names for entry, names in PURE_EXCEPTIONS.items() if f"{inside}/".startswith(f"{entry}/"))
    banned = IMPURE_MODULES.difference(*excepted)
    for found in imports_of(module, source, is_package=is_package):
        where = f"{module}:{found.line}"
        if is_within(found.target, PACKAGE):
            if not arrow_allowed(room or "", found.target):
                yield f"{where}: {room or 'the package itself'} may not import {found.target}"
        elif pure and (culprit := next((name for name in banned if is_within(found.target, name)), None)):
            yield f"{where}: is pure and may not import {culprit}"
        if is_within(found.target, "twisted.internet.reactor") and room not in REACTOR_ROOMS:
            yield f"{where}: only {', '.join(REACTOR_ROOMS)} may name the reactor; take it as an argument"
    if pure:
        yield from clock_faults(module, source)


def clock_faults(module: str, source: str) -> Iterator[str]:
    """Yield a sentence for each place where pure code reads the clock through datetime."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS:
            base = node.value
            name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
            if name in {"datetime", "date"}:
                yield f"{module}:{node.lineno}: is pure and may not read the clock ({name}.{node.attr})"


def table_faults(arrows: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield a sentence for each entry of a table of arrows that is unknown or could close a circle."""
    seen: list[str] = []
    for room, allowed in arrows.items():
        for entry in allowed:
            if entry == "*":
                continue
            within = [known for known in arrows if entry == known or entry.startswith(known + "/")]
            target = max(within, key=len, default=None)
            if target is None:
                yield f"{room}: {entry} is not a room of the plan"
            elif target not in seen:
                yield f"{room}: {entry} does not stand below it"
        seen.append(room)


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the circles among rooms that import each other, each as a path that ends where it began."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(room: str, path: list[str]) -> None:
        if room in path:
            found.append([*path[path.index(room) :], room])
            return
        if room in done:
            return
        for target in sorted(edges.get(room, ())):
            walk(target, [*path, room])
        done.add(room)

    for room in sorted(edges):
        walk(room, [])
    return found


def file_edges() -> dict[str, set[str]]:
    """Return which files import which, those that they import for types alone included."""
    files = {module_name(path): path for path in package_files()}
    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        for found in imports_of(module, path.read_text(), is_package=path.name == "__init__.py"):
            target = found.target if found.target in files else found.target.rpartition(".")[0]
            if target in files and target not in {module, PACKAGE}:
                edges.setdefault(module, set()).add(target)
    return edges


def room_edges() -> dict[str, set[str]]:
    """Return which rooms import which, as the code stands."""
    edges: dict[str, set[str]] = {}
    for path in package_files():
        module = module_name(path)
        room = room_of(module)
        if room is None:
            continue
        for found in imports_of(module, path.read_text(), is_package=path.name == "__init__.py"):
            target = room_of(found.target) if is_within(found.target, PACKAGE) else None
            if target is not None and target in ARROWS and target != room:
                edges.setdefault(room, set()).add(target)
    return edges


def docstring_faults(module: str, source: str) -> Iterator[str]:
    """Yield a sentence for each public module, class, function and method without a docstring.

    Not asked of names with a leading underscore and what is inside them, of functions inside functions, of
    overloads, and of the setter beside a described property.
    """
    tree = ast.parse(source)
    if any(part.startswith("_") and part != "__init__" for part in module.split(".")):
        return
    if ast.get_docstring(tree) is None:
        yield f"{module}: module without a docstring"
    yield from _undescribed(module, tree.body)


def _undescribed(prefix: str, body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _undescribed(prefix, [*node.body, *node.orelse])
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _is_continuation(node):
            continue
        name = f"{prefix}.{node.name}"
        if ast.get_docstring(node) is None:
            yield f"{name}:{node.lineno}: public and without a docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undescribed(name, node.body)


def _is_continuation(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    return any(mark.split(".")[-1] in {"overload", "setter", "deleter"} for mark in marks)


BEGIN = "<!-- arrows: written by `python -m tests.layout` -->"
END = "<!-- end of arrows -->"


def arrows_as_markdown() -> str:
    """Return the tables of this file as the page shows them."""
    lines = ["| room | may import | pure |", "| --- | --- | --- |"]
    for room, allowed in ARROWS.items():
        if "*" in allowed:
            shown = "everything above it in this table"
        else:
            shown = ", ".join(f"`{entry}`" for entry in allowed) or "nothing of ours"
        if room in PURE_ROOMS:
            pure = "yes"
        elif room in OUTER_MODULES:
            pure = "all but " + ", ".join(f"`{name}`" for name in OUTER_MODULES[room])
        else:
            pure = ""
        lines.append(f"| `{room}` | {shown} | {pure} |")
    return "\n".join([BEGIN, *lines, END])


def page_with_arrows(page: str) -> str:
    """Return the page with its tables replaced by the present ones."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + arrows_as_markdown() + after


if __name__ == "__main__":
    ARCHITECTURE.write_text(page_with_arrows(ARCHITECTURE.read_text()))
