-- Rows that are in a file now. The braces take a name out of the catalog.
delete from {table} where end_snapshot is null and row_id <= ?;
