"""Redaction: rules, what they do to columns, and that no marker reaches a ledger."""
