-- The rows that a table keeps in the catalog, oldest first, each with the version that brought it. The braces take
-- names out of the catalog.
select row_id, begin_snapshot, {columns} from {table} where end_snapshot is null order by row_id;
