"""Capture end to end, on real servers."""
