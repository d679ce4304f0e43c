-- The publications: `flux` for tables whose updates can be published, `flux_inserts` for the others
-- (no usable key: with its updates published, the application's own UPDATE would fail).
-- objects: function flux.publish()

do $$
declare
    publication text;
begin
    foreach publication in array array['flux', 'flux_inserts'] loop
        if exists (select from pg_catalog.pg_publication p where p.pubname = publication) then
            if not exists (select from flux.made m where m.kind = 'publication' and m.name = publication) then
                raise exception using errcode = 'duplicate_object',
                    message = pg_catalog.format('publication %I exists and was not made by Flux', publication),
                    hint = pg_catalog.format('rename it: alter publication %I rename to %I', publication, publication || '_other');
            end if;
        else
            execute pg_catalog.format('create publication %I with (publish = %L)', publication,
                case publication when 'flux' then 'insert, update, delete, truncate' else 'insert, truncate' end);
            insert into flux.made (kind, name) values ('publication', publication);
        end if;
    end loop;
end $$;

-- Brings the publications in line with flux.member. A tree whose relations all have a usable identity
-- is published by its root, so that new partitions are in at once; any other leaf by leaf.
-- Alters nothing that is right: altering locks the publication until the transaction ends.
create or replace function flux.publish()
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    step record;
begin
    for step in
        with leaf as (
            select m.root_id, m.relation_id, flux.identity_is_usable(m.relation_id) as usable
            from flux.member m join pg_catalog.pg_class c on c.oid = m.relation_id
            where c.relkind = 'r' and c.relpersistence = 'p'
        ), by_root as (
            select l.root_id from leaf l group by l.root_id
            having pg_catalog.bool_and(l.usable) and flux.identity_is_usable(l.root_id)
        ), wanted as (
            select 'flux' as name, b.root_id as relation_id from by_root b
            union all
            select case when l.usable then 'flux' else 'flux_inserts' end, l.relation_id
            from leaf l where l.root_id not in (select b.root_id from by_root b)
        ), present as (
            select p.pubname::text as name, r.prrelid as relation_id
            from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
            where p.pubname in ('flux', 'flux_inserts')
        )
        -- Drops first: a table in both would still be published with its updates.
        select 'drop' as verb, s.name, s.relation_id
        from (table present except table wanted) s
        union all
        select 'add', s.name, s.relation_id
        from (table wanted except table present) s
        order by 1 desc
    loop
        execute pg_catalog.format('alter publication %I %s table only %s', step.name, step.verb, step.relation_id::regclass);
    end loop;
end $$;

revoke execute on function flux.publish() from public;
