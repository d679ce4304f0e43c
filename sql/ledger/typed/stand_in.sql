-- To make a view DuckDB binds what it reads, and table_at reads much. Only the columns matter for that, so
-- this stands in for it meanwhile: what lies in `temp` is found first.
create temp macro table_at(rel, as_of) as table
select null::varchar as source, null::uinteger as relation_id, null::varchar as key,
       null::map(varchar, varchar) as "row", null::varchar[] as lossy;
