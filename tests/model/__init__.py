"""The abstract service: addresses, domains, outcomes, the one vocabulary."""
