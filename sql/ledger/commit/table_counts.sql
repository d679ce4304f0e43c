-- How much a table holds now.
update ducklake_table_stats set record_count = ?, next_row_id = ?, file_size_bytes = ? where table_id = ?;
