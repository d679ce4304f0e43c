-- From here on table_at is the ledger's own again.
drop macro table temp.table_at;
