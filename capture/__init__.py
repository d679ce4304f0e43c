"""The capture daemon: the stream of a source into its ledger, and what a source needs for it."""
