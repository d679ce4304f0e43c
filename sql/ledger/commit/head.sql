-- The catalog's newest version and the numbers that come next (DuckLake specification 1.0, "Queries").
select snapshot_id, schema_version, next_catalog_id, next_file_id
from ducklake_snapshot
order by snapshot_id desc
limit 1;
