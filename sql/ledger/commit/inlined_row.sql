-- A row that a table keeps in the catalog itself, as text. The braces take names out of the catalog and marks.
insert into {table} (row_id, begin_snapshot, {columns}) values (?, ?, {marks});
