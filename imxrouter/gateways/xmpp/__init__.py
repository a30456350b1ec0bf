"""XMPP between servers: streams as RFC 6120 has them, and stanzas as they were sent."""
