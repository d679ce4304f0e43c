-- What the forgotten versions changed.
delete from ducklake_snapshot_changes where snapshot_id < :first;
