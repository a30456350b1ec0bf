"""Puts the parts together: one object per part, each handed the two or three things it uses."""
