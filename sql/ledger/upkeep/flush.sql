-- Rows kept in the catalog become a file.
call ducklake_flush_inlined_data('flux');
