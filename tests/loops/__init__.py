"""Routers configured in a circle (CPIM-3)."""
