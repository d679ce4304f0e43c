-- The bounds of a column over all rows of its table.
update ducklake_table_column_stats set contains_null = ?, min_value = ?, max_value = ?
where table_id = ? and column_id = ?;
