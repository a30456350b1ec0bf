"""Vectors that another implementation can use, and what makes them."""
