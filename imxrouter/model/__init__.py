"""The abstract service in the middle: addresses, operations, outcomes and the one vocabulary.

Follows CPIM and CPP (RFC 3860, RFC 3859) plus IMX attributes. Imports nothing of ours.
"""
