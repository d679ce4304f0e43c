-- What a query may name: tables and views, then their columns.
select distinct case when schema_name in ('main', 'kept') then table_name else schema_name || '.' || table_name end as word, 0 as nth
from duckdb_tables() where not internal
union
select distinct case when schema_name = 'main' then view_name else schema_name || '.' || view_name end, 0
from duckdb_views() where not internal
union
select distinct column_name, 1 from duckdb_columns() where not internal
order by nth, word
