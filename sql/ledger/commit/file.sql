-- A data file of a table: of one commit, or (partial_max) of all from one version to another.
insert into ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
                                record_count, file_size_bytes, footer_size, row_id_start, partial_max)
values (?, ?, ?, ?, 1, 'parquet', ?, ?, ?, ?, ?);
