"""Staged failures: each is made to happen, and must be told alike by answer, trace or check, log and metric."""
