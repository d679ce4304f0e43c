"""Capture over a bad network, onto a slow disk, and for a long time."""
