-- The catalog's versions of before a moment, without the newest.
select snapshot_id from ducklake_snapshot
where snapshot_time < ? and snapshot_id < (select max(snapshot_id) from ducklake_snapshot)
order by snapshot_id;
