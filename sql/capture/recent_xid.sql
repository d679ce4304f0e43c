-- A recent 64-bit transaction id: the log has only the lower 32 bits.
select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint
