"""What the wire room raises. A parser of this room raises nothing else, whatever the bytes."""

from imxrouter.model.errors import RouterError


class WireError(RouterError):
    """The peer sent bytes that are no record; ends one link and is counted."""


class RecordTooLarge(WireError):
    """The header announces more bytes than this link takes. Judged before the body arrives."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"record of {size_bytes} bytes; this link takes at most {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class UnknownCritical(WireError):
    """A field or record marked critical is not known here; refused by name, never a closed link by itself."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"critical {what} 0x{number:04x} is not known here")
        self.number = number
