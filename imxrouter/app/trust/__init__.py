"""Certificates, keys and proofs of a running router: shown, judged, and taken back when they end."""
