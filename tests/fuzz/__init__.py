"""Fuzz targets, one for each parser or machine that reads what a stranger sends."""
