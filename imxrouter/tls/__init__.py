"""TLS: our own certificates, contexts, and the judgement of others'. No I/O but reading files."""
