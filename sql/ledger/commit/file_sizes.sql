-- The sizes of all data files in bytes, by table.
select owner.table_name, file.file_size_bytes
from ducklake_data_file as file
join ducklake_table as owner on owner.table_id = file.table_id
where file.end_snapshot is null and owner.end_snapshot is null;
