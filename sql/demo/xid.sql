-- The number of this transaction: how the demo knows when the ledger has it.
select pg_catalog.pg_current_xact_id()::text::bigint
