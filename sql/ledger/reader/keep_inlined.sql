-- The catalog keeps values as text; they are cast to the table's types.
insert into kept.{table} by name from inlined;
