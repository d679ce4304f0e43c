-- How the relations under a root are published. %(relation_id)s
select n.nspname || '.' || c.relname as relation, flux.identity_is_usable(c.oid) as is_usable, c.relkind::text as kind,
       c.relpersistence::text as persistence
from flux.member m
join pg_catalog.pg_class c on c.oid = m.relation_id
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where m.root_id = %(relation_id)s::oid and c.relkind <> 'p' order by 1
