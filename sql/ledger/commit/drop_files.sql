-- Replaced files are no longer data files.
delete from ducklake_data_file where data_file_id in (select value from json_each(?));
