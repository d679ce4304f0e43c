-- What each relation under a tracked one has of what it needs; one that no partition tree holds any more
-- and one that joined a tree unnoticed are told apart by is_member and is_expected.
with expected as (
    select f.relation_id, t.relation_id as root_id
    from flux.tracked t cross join lateral flux.tree(t.relation_id) f (relation_id)
), listed as (
    select coalesce(e.relation_id, m.relation_id) as relation_id, coalesce(e.root_id, m.root_id) as root_id,
           e.relation_id is not null as is_expected, m.relation_id is not null as is_member
    from expected e full join flux.member m using (relation_id)
)
select
    c.oid::bigint as relation_id,
    c.oid::pg_catalog.regclass::text as name,
    n.nspname || '.' || c.relname as relation,
    l.root_id::pg_catalog.regclass::text as root,
    c.relkind::text as kind,
    'flux track ' || pg_catalog.quote_literal(l.root_id::pg_catalog.regclass::text)
        || case when t.rollbacks then ' --rollbacks' when not h.tag_trigger then ' --no-trigger' else '' end as command,
    l.is_expected,
    l.is_member,
    c.relpersistence = 'p' as is_permanent,
    c.relreplident::text as replica_identity,
    flux.identity_is_usable(c.oid) as is_usable,
    exists (
        select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
        where p.pubname = 'flux' and r.prrelid in (c.oid, l.root_id)) as in_flux,
    exists (
        select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
        where p.pubname = 'flux_inserts' and r.prrelid in (c.oid, l.root_id)) as in_flux_inserts,
    h.tag_trigger,
    not h.tag_trigger or exists (
        select from pg_catalog.pg_trigger g
        where g.tgrelid = c.oid and g.tgname = 'flux_tag' and g.tgenabled in ('O', 'A')
          and (g.tgnargs > 0) = t.rollbacks) as is_tagged,
    not t.rollbacks or exists (
        select from pg_catalog.pg_trigger g
        where g.tgrelid = c.oid and g.tgfoid = 'flux.attempt'::pg_catalog.regproc and g.tgtype & 1 = 1
          and g.tgenabled in ('O', 'A')) as is_watched,
    pg_catalog.to_regrole('flux_capture') is null
        or pg_catalog.has_table_privilege(pg_catalog.to_regrole('flux_capture')::oid, l.root_id, 'select') as is_readable,
    c.relrowsecurity as has_row_security
from listed l
join pg_catalog.pg_class c on c.oid = l.relation_id
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join flux.tracked t on t.relation_id = l.root_id
-- An earlier release has no such column.
cross join lateral (select coalesce((pg_catalog.to_jsonb(t) ->> 'tag_trigger')::boolean, true)) h (tag_trigger)
where c.relkind in ('r', 'p')
order by relation
