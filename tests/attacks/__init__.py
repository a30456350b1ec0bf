"""Attacks over real sockets; each test names the one check that stops it, and takes it away to show so."""
