-- Every column of every table, with the fields within it.
select owner.table_name, col.column_id, col.column_name, col.column_type, col.parent_column
from ducklake_column as col
join ducklake_table as owner on owner.table_id = col.table_id
join ducklake_schema as space on space.schema_id = owner.schema_id
where col.end_snapshot is null and owner.end_snapshot is null and space.end_snapshot is null
  and space.schema_name = 'main'
order by col.table_id, col.column_id;
