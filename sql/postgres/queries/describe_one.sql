-- %(relation_id)s: OID, or null; %(relation)s: "schema.table" unquoted, or null.
select flux.describe((
    select pg_catalog.array_agg(c.oid) from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = %(relation_id)s::oid or n.nspname || '.' || c.relname = %(relation)s::text))
