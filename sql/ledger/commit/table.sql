-- What the catalog knows of a table that has rows, and where it inlines rows.
select owner.table_id, known.record_count, known.next_row_id, known.file_size_bytes,
       coalesce((select inlined.table_name from ducklake_inlined_data_tables as inlined
        where inlined.table_id = owner.table_id order by inlined.schema_version desc limit 1), '')
from ducklake_table as owner
join ducklake_schema as space on space.schema_id = owner.schema_id
join ducklake_table_stats as known on known.table_id = owner.table_id
where owner.table_name = ? and owner.end_snapshot is null and space.end_snapshot is null
  and space.schema_name = 'main';
