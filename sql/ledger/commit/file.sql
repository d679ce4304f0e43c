-- A data file of a table.
insert into ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
                                record_count, file_size_bytes, footer_size, row_id_start)
values (?, ?, ?, ?, 1, 'parquet', ?, ?, ?, ?);
