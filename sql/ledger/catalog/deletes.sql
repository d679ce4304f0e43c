-- How many data files have rows deleted from them without having been rewritten.
select count(*) from ducklake_delete_file where end_snapshot is null;
