-- A replaced file is no longer a data file.
delete from ducklake_data_file where data_file_id = ?;
