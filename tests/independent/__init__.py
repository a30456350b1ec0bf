"""A second implementation of IMX, written from `docs/specs/imx-protocol.md` alone.

`codec`, `link` and `router` need nothing but the standard library and import nothing of imxrouter, so that
they cannot share its mistakes. They are the least that federates: clear text, configured addresses, messages
only. The tests hold them to the vectors, and let them talk to a router process of ours.
"""
