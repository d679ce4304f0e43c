"""The command line: its words, its looks, its ends."""
