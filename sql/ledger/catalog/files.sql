-- The data files of every table as of the newest version (DuckLake specification 1.0, tables
-- ducklake_table, ducklake_schema, ducklake_data_file), oldest rows first.
select owner.table_name,
       case when file.path_is_relative and owner.path_is_relative and space.path_is_relative
            then space.path || owner.path || file.path end,
       file.record_count, file.data_file_id
from ducklake_data_file as file
join ducklake_table as owner on owner.table_id = file.table_id
join ducklake_schema as space on space.schema_id = owner.schema_id
where file.end_snapshot is null and owner.end_snapshot is null and space.end_snapshot is null
  and space.schema_name = 'main'
order by file.row_id_start, file.data_file_id;
