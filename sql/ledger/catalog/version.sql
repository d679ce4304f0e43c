-- The catalog's newest version.
select max(snapshot_id) from ducklake_snapshot;
