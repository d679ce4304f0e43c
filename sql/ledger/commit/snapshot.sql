-- A new version of the catalog.
insert into ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)
values (?, ?, ?, ?, ?);
