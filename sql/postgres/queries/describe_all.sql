-- Every ordinary and partitioned table of the users'.
select flux.describe((
    select pg_catalog.array_agg(c.oid) from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence = 'p'
      and n.nspname not in ('flux', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%'))
