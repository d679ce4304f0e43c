"""The wire on real servers."""
