"""The stages of `imxctl check DOMAIN`: what a router would meet on its way to a domain, one after the other.

`report` is what a check tells (pure), `recorder` notes each DNS question, `check` does the work.
"""
