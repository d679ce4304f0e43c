-- About how many rows a table and its partitions hold, for the progress line; -1 when not known.
-- %(relation_id)s: OID of the table or root.
with recursive tree(oid) as (
    select %(relation_id)s::pg_catalog.oid
    union all
    select i.inhrelid from pg_catalog.pg_inherits as i join tree on i.inhparent = tree.oid
)
select coalesce(pg_catalog.sum(c.reltuples) filter (where c.reltuples >= 0), -1)::bigint
from tree join pg_catalog.pg_class as c on c.oid = tree.oid
where c.relkind = 'r'
