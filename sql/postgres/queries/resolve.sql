-- The relation that a name means here, by the rules of SQL. %(name)s
select c.oid::bigint as relation_id, n.nspname || '.' || c.relname as relation, flux.refusal(c.oid) as refusal,
       t.relation_id is not null as is_tracked
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join flux.tracked t on t.relation_id = c.oid
where c.oid = pg_catalog.to_regclass(%(name)s)
