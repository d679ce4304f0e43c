-- Files that were replaced before a moment, and where they lie in the data folder, oldest first.
select data_file_id, path from ducklake_files_scheduled_for_deletion
where path_is_relative and schedule_start < ?
order by schedule_start
limit ?;
