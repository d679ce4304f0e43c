-- The rows of data files, as one file will have them. `_ducklake_internal_snapshot_id` is DuckLake's name for the
-- catalog's version that brought a row. Everything in braces comes from the catalog or is a constant of ours.
select {columns}, _ducklake_internal_snapshot_id from ({reading});
