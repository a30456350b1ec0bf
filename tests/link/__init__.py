"""One link: life, claims, tokens, answers, duplicates, requests in flight."""
