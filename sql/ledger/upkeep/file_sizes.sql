-- The sizes of a table's data files, in bytes.
select data_file_size_bytes from ducklake_list_files('flux', $table);
