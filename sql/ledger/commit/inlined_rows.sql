-- How many rows of a table are inlined in the catalog. The braces take a name out of the catalog.
select count(*) from {table} where end_snapshot is null;
