-- Nor are their bounds any use.
delete from ducklake_file_column_stats where data_file_id in (select value from json_each(?));
