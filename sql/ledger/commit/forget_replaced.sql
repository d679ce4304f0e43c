-- Replaced files are deleted. All at once: there is no index, and thousands may wait.
delete from ducklake_files_scheduled_for_deletion where data_file_id in (select value from json_each(?));
