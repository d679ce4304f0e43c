-- The bounds of a column in a data file.
insert into ducklake_file_column_stats (data_file_id, table_id, column_id, column_size_bytes, value_count, null_count,
                                        min_value, max_value)
values (?, ?, ?, ?, ?, ?, ?, ?);
