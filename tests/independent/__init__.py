"""A second implementation of IMX, written from `docs/specs/imx-protocol.md` alone.

`codec`, `link`, `router`, `operations` and `presence` need nothing but the standard library and import
nothing of imxrouter, so that they cannot share its mistakes. They are the least that federates: clear text
and configured addresses; messages, subscriptions and notifications, attributes, echo. The tests hold them to
the vectors, and let them talk to routers of ours.
"""
