"""What operators ask of a running router, and what they are told."""
