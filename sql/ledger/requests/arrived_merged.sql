-- Those rows of merged files that came after a version of the catalog.
select * exclude (_ducklake_internal_snapshot_id) from read_parquet({files}, union_by_name => true)
where _ducklake_internal_snapshot_id > {version}
