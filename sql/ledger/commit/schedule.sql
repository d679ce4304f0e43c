-- A replaced file waits for its deletion. DuckLake writes the path from the data folder on.
insert into ducklake_files_scheduled_for_deletion (data_file_id, path, path_is_relative, schedule_start)
values (?, ?, 1, ?);
