-- How many versions of the catalog are of before a moment, without the newest, and the first one that stays.
select count(*), max(snapshot_id) + 1 from ducklake_snapshot
where snapshot_time < ? and snapshot_id < (select max(snapshot_id) from ducklake_snapshot);
