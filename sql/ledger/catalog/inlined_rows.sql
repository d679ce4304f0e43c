-- The live rows kept in the catalog for one table. The braces take names out of the catalog.
select {columns} from {table} where end_snapshot is null order by row_id;
