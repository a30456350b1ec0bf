"""The root of every exception this project raises on purpose."""


class RouterError(Exception):
    """Anything this router refuses or fails to do, with words an operator can act on."""


class LocalMisuse(RouterError):
    """Our own code called something out of order: a bug of ours, never a peer's doing."""
