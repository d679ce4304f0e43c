-- A Parquet file that lies in the folder of one of our tables becomes part of it.
call ducklake_add_data_files('flux', '{table}', $file);
