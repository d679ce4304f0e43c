-- What is known of the values by which rows are sought, in each data file after a number as of the newest version
-- (specification: ducklake_file_column_stats). In this order of joins, for there is a row for every column.
with sought as materialized (
    select owner.table_id, col.column_id, col.column_name
    from ducklake_column as col
    join ducklake_table as owner on owner.table_id = col.table_id
    where col.end_snapshot is null and col.parent_column is null and owner.end_snapshot is null
      and (owner.table_name = 'changes' and col.column_name in ('relation', 'key', 'old_key')
           or owner.table_name = 'contexts' and col.column_name = 'context_id'
           or owner.table_name = 'transactions' and col.column_name = 'xid')
)
select file.data_file_id, sought.column_name, stats.min_value, stats.max_value, stats.null_count, file.record_count
from ducklake_file_column_stats as stats
cross join sought on sought.table_id = stats.table_id and sought.column_id = stats.column_id
cross join ducklake_data_file as file on file.data_file_id = stats.data_file_id
where file.end_snapshot is null and stats.data_file_id > ?;
