-- The data files of every table, oldest rows first.
select owner.table_name, file.data_file_id, file.path, file.record_count, file.file_size_bytes, file.begin_snapshot,
       file.row_id_start, file.partial_max
from ducklake_data_file as file
join ducklake_table as owner on owner.table_id = file.table_id
where file.end_snapshot is null and owner.end_snapshot is null
order by file.row_id_start, file.data_file_id;
