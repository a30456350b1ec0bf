"""Between stanzas of XMPP and operations of the model (`docs/specs/xmpp-mapping.md`); pure.

Stanzas come as trees in which the content namespace is `jabber:server`, and go as bytes in that namespace.
"""
