"""TLS: certificates, whom to trust, and what a handshake showed."""
