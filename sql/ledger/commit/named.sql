-- The files that the catalog names: of its tables, of deleted rows, and those that wait for their deletion.
select path from ducklake_data_file
union all select path from ducklake_delete_file
union all select path from ducklake_files_scheduled_for_deletion;
