-- What a prompt's \d lists: the ledger's tables, and the views of each captured table.
select table_schema as "schema", table_name as name
from information_schema.tables
where table_schema in ('main', 'current', 'history') and table_name not like '%.%'
order by table_schema <> 'main', table_schema, table_name
