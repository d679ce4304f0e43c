"""Hooks in the database drivers: each write's transaction is tagged, each statement becomes a span."""
