"""XMPP between servers: streams, proofs of domains, and stanzas as operations of ours. Pure but `streams`."""
