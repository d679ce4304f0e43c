"""WAL bytes in, columnar batches out."""
