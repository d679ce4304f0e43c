-- A replaced file is deleted.
delete from ducklake_files_scheduled_for_deletion where data_file_id = ?;
