"""Finding a domain's routers: what to ask DNS, what answers mean, and the asking itself.

`imxrr`, `records`, `answers`, `plan`, `order`, `cache` and `guard` are pure. `rdata` teaches dnspython the
IMX record type, `backend` lets dnspython use a Twisted reactor, `adapter` asks name servers, `finder` puts
them together. The record is specified in `docs/specs/imx-dns-record.md`.
"""
