-- What an earlier release tracked gets the triggers of this one; what is gone is forgotten.
-- objects:

delete from flux.tracked t where not exists (select from pg_catalog.pg_class c where c.oid = t.relation_id);
delete from flux.member m where not exists (select from pg_catalog.pg_class c where c.oid = m.relation_id);
select pg_catalog.set_config('flux.busy', 'on', true);
select flux.arm(t.relation_id) from flux.tracked t;
select pg_catalog.set_config('flux.busy', '', true);
