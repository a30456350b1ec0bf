"""Content formats that cross protocols: pure codecs, total on any input."""
