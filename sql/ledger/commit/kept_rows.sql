-- How many rows a table keeps in the catalog. The braces take a name out of the catalog.
select count(*) from {table} where end_snapshot is null;
