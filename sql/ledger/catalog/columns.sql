-- The columns of every table, in order (specification: ducklake_column); not the fields within a column.
select owner.table_name, col.column_name
from ducklake_column as col
join ducklake_table as owner on owner.table_id = col.table_id
join ducklake_schema as space on space.schema_id = owner.schema_id
where col.end_snapshot is null and col.parent_column is null
  and owner.end_snapshot is null and space.end_snapshot is null and space.schema_name = 'main'
order by owner.table_name, col.column_order;
