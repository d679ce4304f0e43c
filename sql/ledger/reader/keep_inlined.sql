-- The catalog keeps values as text; they are cast to the table's types. One list for each column.
insert into kept.{table} ({columns}) select {lists};
