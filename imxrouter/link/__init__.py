"""Sans-I/O machines of one link: life, claims, requests in flight, duplicates (specification 5 to 8)."""
