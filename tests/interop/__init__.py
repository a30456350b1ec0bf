"""Tests against software that others wrote; `make interop` installs it first."""
