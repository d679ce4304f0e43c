-- The bounds of a table's columns over all of its rows.
select column_id, contains_null, min_value, max_value from ducklake_table_column_stats where table_id = ?;
