-- The versions. Flux travels in time by its own columns.
delete from ducklake_snapshot where snapshot_id < :first;
