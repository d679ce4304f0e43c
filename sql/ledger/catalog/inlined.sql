-- The tables that keep rows in the catalog itself (specification: ducklake_inlined_data_tables).
select owner.table_name, kept.table_name
from ducklake_inlined_data_tables as kept
join ducklake_table as owner on owner.table_id = kept.table_id
join ducklake_schema as space on space.schema_id = owner.schema_id
where owner.end_snapshot is null and space.end_snapshot is null and space.schema_name = 'main';
