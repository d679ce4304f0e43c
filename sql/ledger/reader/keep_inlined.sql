-- The catalog keeps values as text; they are cast to the table's types. The rows are one JSON text, a list of
-- lists: bound as lists of DuckDB's own they take many times as long.
insert into kept.{table} ({columns})
select {values} from (select unnest(from_json(?, '[["varchar"]]')) as kept_row);
