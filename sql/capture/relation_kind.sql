-- Where a table is now and of what kind: its name may have changed since it was described.
-- %(relation_id)s: OID of the table or root.
select n.nspname::text, c.relname::text, c.relkind::text
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.oid = %(relation_id)s::pg_catalog.oid
