"""The IMX record: RDATA of type 65400, compatible with SVCB (RFC 9460), and RDATA of SRV (RFC 2782).

Parsing is total: any bytes give a record or `BadDnsRecord`, in one pass. The bytes have no compressed
names (RFC 9460 section 2.2 forbids them; the resolver has expanded those of SRV).
Section numbers without RFC are those of `docs/specs/imx-dns-record.md`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from itertools import pairwise
from struct import Struct, error

from imxrouter.discovery.errors import BadDnsRecord

_U16 = Struct("!H")
_SRV_HEAD = Struct("!HHH")

#: RFC 1035 section 2.3.4: a name is at most 255 octets on the wire, a label 63.
_MAX_NAME_OCTETS = 255
_MAX_LABEL_OCTETS = 63

#: What a target may look like: host names, and underscores for a target `.` in the SVCB form.
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)*\Z")

#: The ALPN name of IMX, which a record speaks of unless it says otherwise (section 4.2).
ALPN_IMX = "imx"


class Key(IntEnum):
    """Parameters that are understood here. The last three are private (RFC 9460 section 14.3)."""

    MANDATORY = 0
    ALPN = 1
    NO_DEFAULT_ALPN = 2
    PORT = 3
    IPV4HINT = 4
    ECH = 5
    IPV6HINT = 6
    TLS = 65280
    AUTH = 65281
    VER = 65282


#: Keys that `mandatory` may list without making the record unusable. Hints count as understood although
#: their value is never used (section 8: nothing but DNS for the target's own name gives an address).
UNDERSTOOD = frozenset(Key) - {Key.MANDATORY, Key.ECH}

_KEY_TEXT = {
    Key.MANDATORY: "mandatory", Key.ALPN: "alpn", Key.NO_DEFAULT_ALPN: "no-default-alpn", Key.PORT: "port",
    Key.IPV4HINT: "ipv4hint", Key.ECH: "ech", Key.IPV6HINT: "ipv6hint",
}  # fmt: skip

#: Values of `tls`, by code. A code not listed is taken as `required`: unknown never means weaker.
TLS_WORDS = ("none", "optional", "required")

#: Values of `auth`, by code. A code not listed is shown as `methodN` and cannot be used.
AUTH_WORDS = {1: "dialback", 2: "certificate"}
_AUTH_CODES = {word: code for code, word in AUTH_WORDS.items()}


@dataclass(frozen=True, slots=True)
class ImxRecord:
    """One IMX or SVCB record.

    Attributes:
        priority: 0 for an alias; lower is tried first.
        target: lower-case name without trailing dot; empty for `.`.
        params: (key, value bytes), keys strictly increasing; empty for an alias.
    """

    priority: int
    target: str
    params: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def parse(cls, rdata: bytes) -> ImxRecord:
        """Read RDATA.

        Raises:
            BadDnsRecord: it is malformed (sections 3 and 4).
        """
        if len(rdata) < 3:
            raise BadDnsRecord(f"RDATA of {len(rdata)} octets is too short for a priority and a target")
        (priority,) = _U16.unpack_from(rdata)
        target, offset = read_name(rdata, 2)
        if priority == 0:  # RFC 9460 section 2.4.2: parameters of an alias are ignored
            return cls(0, target)
        params = _read_params(rdata, offset)
        record = cls(priority, target, params)
        _check(dict(params))
        return record

    @classmethod
    def make(
        cls,
        priority: int,
        target: str,
        *,
        port: int | None = None,
        tls: str | None = None,
        auth: frozenset[str] | None = None,
        versions: tuple[int, ...] | None = None,
    ) -> ImxRecord:
        """Build a record from its meaning.

        Raises:
            BadDnsRecord: a value is outside its range.
        """
        params: dict[int, bytes] = {}
        try:
            if port is not None:
                params[Key.PORT] = _U16.pack(port)
            if tls is not None:
                params[Key.TLS] = bytes([TLS_WORDS.index(tls)])
            if auth is not None:
                params[Key.AUTH] = bytes(sorted(_AUTH_CODES[word] for word in auth))
            if versions is not None:
                params[Key.VER] = b"".join(_U16.pack(version) for version in sorted(set(versions)))
            record = cls(priority, target.rstrip(".").lower(), tuple(sorted(params.items())))
            return cls.parse(record.to_wire())
        except (KeyError, ValueError, OverflowError, error) as problem:
            raise BadDnsRecord(f"a value is outside its range: {problem}") from None

    def to_wire(self) -> bytes:
        """Return the RDATA."""
        out = bytearray(_U16.pack(self.priority)) + write_name(self.target)
        for key, value in self.params:
            out += _U16.pack(key) + _U16.pack(len(value)) + value
        return bytes(out)

    def to_text(self) -> str:
        """Return the presentation form of RFC 9460 section 2.1; private keys as `keyN`."""
        parts = [str(self.priority), f"{self.target}."]
        parts += [_param_text(key, value) for key, value in self.params]
        return " ".join(parts)

    def to_generic_text(self) -> str:
        r"""Return the `\# length hex` form of RFC 3597 section 5, which every name server loads."""
        wire = self.to_wire()
        return f"\\# {len(wire)} {wire.hex().upper()}"

    @property
    def is_alias(self) -> bool:
        """AliasMode: the records stand at the target (RFC 9460 section 2.4.2)."""
        return self.priority == 0

    @property
    def port(self) -> int | None:
        """The port, None where the default applies."""
        value = self._get(Key.PORT)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def tls(self) -> str | None:
        """`required`, `optional` or `none`; None where the record says nothing and policy decides."""
        value = self._get(Key.TLS)
        if value is None:
            return None
        return TLS_WORDS[value[0]] if value[0] < len(TLS_WORDS) else "required"

    @property
    def auth(self) -> frozenset[str] | None:
        """Names of the methods it offers; None where it does not say."""
        value = self._get(Key.AUTH)
        return None if value is None else frozenset(AUTH_WORDS.get(code, f"method{code}") for code in value)

    @property
    def versions(self) -> tuple[int, ...] | None:
        """Protocol versions it speaks; None where it does not say."""
        value = self._get(Key.VER)
        return None if value is None else tuple(_u16s(value))

    @property
    def alpn(self) -> tuple[str, ...]:
        """Protocols spoken there: the default `imx` unless `no-default-alpn`, and those listed."""
        listed = tuple(name.decode("latin-1") for name in _strings(self._get(Key.ALPN) or b""))
        return listed if self._get(Key.NO_DEFAULT_ALPN) is not None else (ALPN_IMX, *listed)

    @property
    def unusable_because(self) -> str:
        """Why a client of this specification must pass the record over; empty when it need not."""
        for key in _u16s(self._get(Key.MANDATORY) or b""):
            if key not in UNDERSTOOD:
                return f"{key_text(key)} is mandatory and not known here"
        if ALPN_IMX not in self.alpn:
            return "it does not speak imx (alpn)"
        return ""

    def _get(self, key: int) -> bytes | None:
        return next((value for number, value in self.params if number == key), None)


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """One SRV record (RFC 2782); `target` is empty for `.`, which means: no service."""

    priority: int
    weight: int
    port: int
    target: str

    @classmethod
    def parse(cls, rdata: bytes) -> SrvRecord:
        """Read RDATA.

        Raises:
            BadDnsRecord: it is malformed, or has port 0.
        """
        if len(rdata) < 7:
            raise BadDnsRecord(f"SRV RDATA of {len(rdata)} octets is too short")
        priority, weight, port = _SRV_HEAD.unpack_from(rdata)
        target, offset = read_name(rdata, 6)
        if offset != len(rdata):
            raise BadDnsRecord("octets follow the target of an SRV record")
        if target and not port:
            raise BadDnsRecord("an SRV record names port 0")
        return cls(priority, weight, port, target)

    def to_wire(self) -> bytes:
        """Return the RDATA."""
        return _SRV_HEAD.pack(self.priority, self.weight, self.port) + write_name(self.target)

    def to_text(self) -> str:
        """Return the presentation form."""
        return f"{self.priority} {self.weight} {self.port} {self.target}."


def key_text(key: int) -> str:
    """Return the name of a parameter; `keyN` for private and unknown ones (RFC 9460 section 2.1)."""
    return _KEY_TEXT.get(Key(key), f"key{key}") if key in set(Key) else f"key{key}"


def is_host(text: str) -> bool:
    """Tell whether a name can be a target: a host name that nobody can take for an IPv4 address."""
    return bool(_HOST.match(text)) and len(text) <= 253 and not text.rpartition(".")[2].isdigit()


def read_name(data: bytes, offset: int) -> tuple[str, int]:
    """Read an uncompressed name; return it in lower case without trailing dot, and the offset behind it.

    Raises:
        BadDnsRecord: it runs over the end, is compressed or too long, or is no host name.
    """
    start = offset
    labels: list[str] = []
    while True:
        if offset >= len(data):
            raise BadDnsRecord("the target runs over the end of the RDATA")
        size = data[offset]
        offset += 1
        if size == 0:
            break
        if size > _MAX_LABEL_OCTETS:
            raise BadDnsRecord("the target is compressed or has a label of an unknown kind")
        labels.append(data[offset : offset + size].decode("latin-1"))
        offset += size
        if offset - start >= _MAX_NAME_OCTETS:
            raise BadDnsRecord("the target is longer than 255 octets")
    if any("." in label for label in labels):
        raise BadDnsRecord("a label of the target contains a dot")
    name = ".".join(labels).lower()
    if name and not is_host(name):
        raise BadDnsRecord(f"the target {name[:80]!r} is no host name")
    return name, offset


def write_name(name: str) -> bytes:
    """Return a name in wire form, uncompressed; empty text gives the root.

    Raises:
        BadDnsRecord: a label is empty or longer than 63 octets, or the name longer than 255.
    """
    out = bytearray()
    for label in name.split(".") if name else ():
        raw = label.encode("ascii", "replace")
        if not 0 < len(raw) <= _MAX_LABEL_OCTETS:
            raise BadDnsRecord(f"a label of {len(raw)} octets")
        out += bytes([len(raw)]) + raw
    if len(out) >= _MAX_NAME_OCTETS:
        raise BadDnsRecord(f"a name of {len(out) + 1} octets")
    return bytes(out) + b"\0"


def _read_params(data: bytes, offset: int) -> tuple[tuple[int, bytes], ...]:
    params: list[tuple[int, bytes]] = []
    previous = -1
    while offset < len(data):
        if offset + 4 > len(data):
            raise BadDnsRecord("the RDATA ends inside a parameter")
        key = int.from_bytes(data[offset : offset + 2], "big")
        size = int.from_bytes(data[offset + 2 : offset + 4], "big")
        offset += 4
        if offset + size > len(data):
            raise BadDnsRecord(f"{key_text(key)} runs over the end of the RDATA")
        if key <= previous:
            raise BadDnsRecord(f"{key_text(key)} stands out of order or twice")
        params.append((key, data[offset : offset + size]))
        previous = key
        offset += size
    return tuple(params)


def _check(params: dict[int, bytes]) -> None:
    """Hold each known value to its form. Raises `BadDnsRecord`."""
    for key, value in params.items():
        if key not in _FORMS:
            continue
        rule, holds = _FORMS[key]
        if not holds(value):
            raise BadDnsRecord(f"{key_text(key)}: {rule}")
    listed = list(_u16s(params.get(Key.MANDATORY, b"")))
    for key in listed:
        if key == Key.MANDATORY or key not in params:
            raise BadDnsRecord(f"mandatory lists {key_text(key)}, which the record does not have")
    if Key.NO_DEFAULT_ALPN in params and Key.ALPN not in params:
        raise BadDnsRecord("no-default-alpn without alpn")


def _u16s(value: bytes) -> list[int]:
    return [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2)]


def _rising(values: list[int]) -> bool:
    return all(low < high for low, high in pairwise(values))


def _strings(value: bytes) -> list[bytes]:
    names: list[bytes] = []
    at = 0
    while at < len(value):
        names.append(value[at + 1 : at + 1 + value[at]])
        at += 1 + value[at]
    return names


def _are_strings(value: bytes) -> bool:
    at = 0
    while at < len(value):
        if value[at] == 0:
            return False
        at += 1 + value[at]
    return bool(value) and at == len(value)


def _is_u16_list(value: bytes) -> bool:
    return bool(value) and len(value) % 2 == 0 and _rising(_u16s(value))


def _is_octet_list(value: bytes) -> bool:
    return bool(value) and value[0] > 0 and _rising(list(value))


_FORMS: dict[int, tuple[str, Callable[[bytes], bool]]] = {
    Key.MANDATORY: ("a list of keys, strictly increasing, without mandatory itself", _is_u16_list),
    Key.ALPN: ("a list of names, each 1 to 255 octets after its length", _are_strings),
    Key.NO_DEFAULT_ALPN: ("has no value", lambda value: not value),
    Key.PORT: ("two octets, not 0", lambda value: len(value) == 2 and value != b"\0\0"),
    Key.IPV4HINT: ("a list of IPv4 addresses", lambda value: bool(value) and len(value) % 4 == 0),
    Key.IPV6HINT: ("a list of IPv6 addresses", lambda value: bool(value) and len(value) % 16 == 0),
    Key.TLS: ("one octet", lambda value: len(value) == 1),
    Key.AUTH: ("octets, strictly increasing, none of them 0", _is_octet_list),
    Key.VER: ("numbers of two octets, strictly increasing", _is_u16_list),
}  # fmt: skip


def _param_text(key: int, value: bytes) -> str:
    name = key_text(key)
    if key == Key.MANDATORY:
        return f"{name}={','.join(key_text(listed) for listed in _u16s(value))}"
    if key == Key.PORT:
        return f"{name}={int.from_bytes(value, 'big')}"
    if not value:
        return name
    if key == Key.ALPN:
        return f'{name}="{_escape(_list_text(value))}"'
    if key in {Key.IPV4HINT, Key.IPV6HINT}:
        return f"{name}={_hint_text(value, 4 if key == Key.IPV4HINT else 16)}"
    if key == Key.ECH:
        return f"{name}={b64encode(value).decode('ascii')}"
    return f'{name}="{_escape(value)}"'


def _list_text(value: bytes) -> bytes:
    """RFC 9460 appendix A.1: comma and backslash inside a list item are escaped first."""
    return b",".join(name.replace(b"\\", b"\\\\").replace(b",", b"\\,") for name in _strings(value))


def _hint_text(value: bytes, size: int) -> str:
    return ",".join(str(ip_address(value[at : at + size])) for at in range(0, len(value), size))


def _escape(value: bytes) -> str:
    """RFC 1035 section 5.1: a backslash and three decimal digits for what is not printable."""
    return "".join(
        f"\\{chr(octet)}" if octet in b'"\\' else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"
        for octet in value
    )
