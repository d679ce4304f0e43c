-- The comments on what Flux installed, by which an old one is known.
select 'function ' || p.oid::pg_catalog.regprocedure as object, pg_catalog.obj_description(p.oid, 'pg_proc') as comment
from pg_catalog.pg_proc p where p.pronamespace = 'flux'::pg_catalog.regnamespace
union all
select case c.relkind when 'S' then 'sequence ' else 'table ' end || c.oid::pg_catalog.regclass, pg_catalog.obj_description(c.oid, 'pg_class')
from pg_catalog.pg_class c where c.relnamespace = 'flux'::pg_catalog.regnamespace and c.relkind in ('r', 'S')
union all
select 'event trigger ' || e.evtname, pg_catalog.obj_description(e.oid, 'pg_event_trigger')
from pg_catalog.pg_event_trigger e
