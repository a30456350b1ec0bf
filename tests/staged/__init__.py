"""Staged failures: each is made to happen; answer, trace, check, log and metric must tell it alike."""
