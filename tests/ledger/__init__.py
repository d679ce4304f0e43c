"""Tests of the ledger: no server, batches built by hand."""
