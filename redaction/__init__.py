"""Redaction: what rules name is not stored as it is. Columns in, columns out; knows no server and no file."""

from flux.redaction.redactor import Redactor

__all__ = ["Redactor"]
