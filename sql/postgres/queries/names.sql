-- Tables that could be tracked, as one would type them.
select c.oid::bigint as relation_id, n.nspname || '.' || c.relname as relation,
       case when pg_catalog.pg_table_is_visible(c.oid) then '' else pg_catalog.quote_ident(n.nspname) || '.' end
           || pg_catalog.quote_ident(c.relname) as name,
       t.relation_id is not null as is_tracked
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join flux.tracked t on t.relation_id = c.oid
where c.relkind in ('r', 'p') and flux.refusal(c.oid) is null
  and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e'
                  and d.classid = 'pg_catalog.pg_class'::regclass)
order by 2
