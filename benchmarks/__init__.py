"""Measurements of speed and quality, run by `dev.py bench`."""
