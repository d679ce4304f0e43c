-- The data files of a table with rows that came after a version of the catalog; `partial_max` is null unless merged.
select space.path || owner.path || file.path, file.partial_max
from ducklake_data_file as file
join ducklake_table as owner on owner.table_id = file.table_id
join ducklake_schema as space on space.schema_id = owner.schema_id
where file.end_snapshot is null and owner.end_snapshot is null and space.end_snapshot is null
  and space.schema_name = 'main' and owner.table_name = ?
  and coalesce(file.partial_max, file.begin_snapshot) > ?
order by file.row_id_start, file.data_file_id;
