"""The store: engines, the state file, and what becomes of them when disks fail."""
