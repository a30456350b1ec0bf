"""Measures the router and prints the table: `make bench`."""
