-- How DuckLake lays the files out. Kept in the catalog, so every writer does the same.

-- Inlining is off where a table has nested columns: DuckLake 1.0 writes them into the catalog as
-- text that does not always read back (a struct or map text with an unbalanced brace, a quote or a
-- backslash fails or changes), and 500 rows take 200 ms that way, 20 ms as a file. The flat tables,
-- of which positions gets a row with every commit, are inlined.
call ducklake_set_option('flux', 'data_inlining_row_limit', 0);
call ducklake_set_option('flux', 'data_inlining_row_limit', 1000, table_name => 'positions');
call ducklake_set_option('flux', 'data_inlining_row_limit', 1000, table_name => 'gaps');
call ducklake_set_option('flux', 'data_inlining_row_limit', 1000, table_name => 'baselines');
call ducklake_set_option('flux', 'parquet_compression', 'zstd');
-- A question for one row reads whole row groups.
call ducklake_set_option('flux', 'parquet_row_group_size', 20480);
call ducklake_set_option('flux', 'target_file_size', '256MB');
