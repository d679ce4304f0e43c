-- Tracking: triggers, rights and publications of the tracked tables, and the message that says so.
-- objects: function flux.emit(text, json, boolean); function flux.arm(oid)
-- objects: function flux.disarm_tag(oid); function flux.disarm_attempts(oid, text, boolean); function flux.permit(oid)
-- objects: function flux.disarm(oid[]); function flux.track(oid, boolean, boolean, boolean)
-- objects: function flux.untrack(oid); function flux.announce(text, text, oid[], oid[], oid[])
-- objects: function flux.refusal(oid)

-- One message, in UTF-8 whatever the database's encoding; returns its position.
create or replace function flux.emit(prefix text, content json, transactional boolean)
returns pg_lsn language sql volatile set search_path = pg_catalog, pg_temp as $$
    select pg_catalog.pg_logical_emit_message(transactional, prefix, pg_catalog.convert_to(
        pg_catalog.concat(pg_catalog.pg_sequence_last_value('flux.secret'::pg_catalog.regclass), ' ', content), 'UTF8'))
$$;

-- Why a relation cannot be tracked; null if it can.
create or replace function flux.refusal(relation oid)
returns text language sql stable set search_path = pg_catalog, pg_temp as $$
    select case
        when n.nspname in ('flux', 'pg_catalog', 'information_schema') or n.nspname = 'pg_toast' then 'it is a system table'
        when c.relkind = 'v' then 'it is a view: track the tables it reads'
        when c.relkind = 'm' then 'it is a materialized view: track the tables it reads'
        when c.relkind = 'f' then 'it is a foreign table: its changes are in another server''s log'
        when c.relkind not in ('r', 'p') then 'it is not a table'
        when c.relpersistence = 't' then 'it is a temporary table: its changes are not in the log'
        when c.relpersistence = 'u' then 'it is unlogged: its changes are not in the log'
        when c.relispartition then pg_catalog.format('it is a partition: track %s', pg_catalog.pg_partition_root(c.oid))
        end
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation
$$;

-- Gives every relation under a tracked root what it needs and lacks: statement triggers, where it is to have them
-- (they fire only on the relation that a statement names), the attempt trigger (the root's is cloned to partitions; its
-- name has the OID, since attaching fails on a partition that has a trigger of the same name), rights
-- for the capture role, publication. Takes it from those that left the tree.
-- All triggers fire for origin sessions only: a row that logical replication applies was written and
-- tagged where it came from, and a bulk load under session_replication_role = replica asks for no triggers.
create or replace function flux.arm(root oid)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    tracked  flux.tracked;
    relation record;
    attempt  text := '00_flux_attempt_' || root;
    argument text := case when pg_catalog.getdatabaseencoding() <> 'UTF8' then '''convert''' end;
begin
    select * into strict tracked from flux.tracked t where t.relation_id = root;
    -- A tracked table that was attached to a tracked tree is no root any more.
    delete from flux.tracked t where t.relation_id <> root and t.relation_id in (select flux.tree(root));

    perform flux.disarm((
        select array_agg(m.relation_id) from flux.member m
        where m.root_id = root and m.relation_id not in (select flux.tree(root))));
    -- Touches no row that is right: a row lock would make migrations in other sessions wait.
    insert into flux.member (relation_id, root_id)
    select t, root from flux.tree(root) t
    where not exists (select from flux.member m where m.relation_id = t and m.root_id = root)
    on conflict (relation_id) do update set root_id = excluded.root_id;

    for relation in
        select c.oid, c.oid::regclass as name, c.relkind from flux.member m
        join pg_catalog.pg_class c on c.oid = m.relation_id
        where m.root_id = root and c.relkind in ('r', 'p') order by c.oid
    loop
        if not tracked.tag_trigger then
            perform flux.disarm_tag(relation.oid);
        elsif not exists (select from pg_catalog.pg_trigger g where g.tgrelid = relation.oid and g.tgname = 'flux_tag'
                          and g.tgnargs = tracked.rollbacks::int) then
            execute pg_catalog.format(
                'create or replace trigger flux_tag before insert or update or delete or truncate on %s '
                'for each statement execute function flux.tag_statement(%s)',
                relation.name, case when tracked.rollbacks then '''rollbacks''' end);
        end if;
        perform flux.disarm_attempts(relation.oid, case when tracked.rollbacks then attempt end,
            tracked.rollbacks and relation.relkind = 'r');
        if tracked.rollbacks and relation.oid = root and not exists (
            select from pg_catalog.pg_trigger g where g.tgrelid = root and g.tgname = attempt) then
            execute pg_catalog.format('create trigger %I after insert or update or delete on %s '
                'for each row execute function flux.attempt(%s)', attempt, relation.name, argument);
        end if;
        -- A truncated root truncates its leaves, each with its own trigger.
        if tracked.rollbacks and relation.relkind = 'r' and not exists (
            select from pg_catalog.pg_trigger g where g.tgrelid = relation.oid and g.tgname = '00_flux_attempt_truncate') then
            execute pg_catalog.format('create trigger "00_flux_attempt_truncate" after truncate on %s '
                'for each statement execute function flux.attempt(%s)', relation.name, argument);
        end if;
        if tracked.identity_full and relation.relkind = 'r' and not flux.identity_is_usable(relation.oid) then
            insert into flux.made (kind, name, before)
            select 'replica identity', relation.oid, c.relreplident from pg_catalog.pg_class c where c.oid = relation.oid
            on conflict do nothing;
            execute pg_catalog.format('alter table only %s replica identity full', relation.name);
        end if;
    end loop;
    perform flux.permit(root);
    perform flux.publish();
end $$;

create or replace function flux.disarm_tag(relation oid)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from pg_catalog.pg_trigger g where g.tgrelid = relation and g.tgname = 'flux_tag') then
        execute pg_catalog.format('drop trigger flux_tag on %s', relation::regclass);
    end if;
end $$;

-- Drops the attempt triggers of a relation but the named one and, if asked to, the one for TRUNCATE.
create or replace function flux.disarm_attempts(relation oid, keep text, keep_truncate boolean)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    name text;
begin
    for name in
        select g.tgname from pg_catalog.pg_trigger g
        where g.tgrelid = relation and g.tgparentid = 0 and g.tgname like '00\_flux\_attempt\_%'
          and g.tgname is distinct from keep and not (g.tgname = '00_flux_attempt_truncate' and keep_truncate)
    loop
        execute pg_catalog.format('drop trigger %I on %s', name, relation::regclass);
    end loop;
end $$;

-- What the capture role needs to read the first state of a table. Records what was granted.
create or replace function flux.permit(root oid)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    schema_id oid := (select c.relnamespace from pg_catalog.pg_class c where c.oid = root);
begin
    if pg_catalog.to_regrole('flux_capture') is null then
        return;
    end if;
    if not pg_catalog.has_schema_privilege('flux_capture', schema_id, 'usage') then
        execute pg_catalog.format('grant usage on schema %s to flux_capture', schema_id::regnamespace);
        insert into flux.made (kind, name) values ('usage', schema_id) on conflict do nothing;
    end if;
    if not pg_catalog.has_table_privilege('flux_capture', root, 'select') then
        execute pg_catalog.format('grant select on table %s to flux_capture', root::regclass);
        insert into flux.made (kind, name) values ('select', root) on conflict do nothing;
    end if;
end $$;

-- Takes everything of ours from the relations, as far as they still are.
create or replace function flux.disarm(relations oid[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    relation record;
begin
    delete from flux.member m where m.relation_id = any (relations);
    -- A root before its partitions: its trigger takes the clones with it.
    for relation in
        select c.oid, c.oid::regclass as name, i.before as identity, s.name is not null as permitted
        from pg_catalog.pg_class c
        left join flux.made i on i.kind = 'replica identity' and i.name = c.oid::text
        left join flux.made s on s.kind = 'select' and s.name = c.oid::text
        where c.oid = any (relations) order by c.relispartition, c.oid
    loop
        perform flux.disarm_tag(relation.oid);
        perform flux.disarm_attempts(relation.oid, null, false);
        if relation.identity in ('d', 'n')
           and exists (select from pg_catalog.pg_class c where c.oid = relation.oid and c.relreplident = 'f') then
            execute pg_catalog.format('alter table only %s replica identity %s', relation.name,
                case relation.identity when 'd' then 'default' else 'nothing' end);
        end if;
        if relation.permitted and pg_catalog.to_regrole('flux_capture') is not null then
            execute pg_catalog.format('revoke select on table %s from flux_capture', relation.name);
        end if;
    end loop;
    delete from flux.made m where m.kind in ('replica identity', 'select')
        and m.name = any (select r::text from pg_catalog.unnest(relations) r);
end $$;

-- Tracks one table, or changes how; returns whether it was not tracked before. Call flux.announce after it.
-- Rolled-back changes are told with what the tag's trigger leaves behind, so they have it whatever is asked.
drop function if exists flux.track(oid, boolean, boolean);
create or replace function flux.track(relation oid, rollbacks boolean, identity_full boolean, tag_trigger boolean)
returns boolean language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    is_new boolean := not exists (select from flux.tracked t where t.relation_id = relation);
    busy   text := coalesce(pg_catalog.current_setting('flux.busy', true), '');
begin
    -- The event triggers need not follow what is done here.
    perform pg_catalog.set_config('flux.busy', 'on', true);
    insert into flux.tracked as t (relation_id, rollbacks, identity_full, tag_trigger)
    values (relation, track.rollbacks, track.identity_full, track.tag_trigger or track.rollbacks)
    on conflict (relation_id) do update set rollbacks = excluded.rollbacks, tag_trigger = excluded.tag_trigger,
        identity_full = t.identity_full or excluded.identity_full;
    perform flux.arm(relation);
    perform pg_catalog.set_config('flux.busy', busy, true);
    return is_new;
end $$;

create or replace function flux.untrack(relation oid)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    busy text := coalesce(pg_catalog.current_setting('flux.busy', true), '');
begin
    perform pg_catalog.set_config('flux.busy', 'on', true);
    perform flux.disarm((select array_agg(m.relation_id) from flux.member m where m.root_id = relation));
    delete from flux.tracked t where t.relation_id = relation;
    perform flux.publish();
    perform pg_catalog.set_config('flux.busy', busy, true);
end $$;

-- Tells the log what relations look like from here on. TRACK and UNTRACK come from the command line;
-- anything else is DDL, sent a second time without transaction, for its attempts need the new shape.
create or replace function flux.announce(command text, object text, relations oid[], dropped oid[], resync oid[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    prefix  text := case when command in ('TRACK', 'UNTRACK') then 'flux.track' else 'flux.ddl' end;
    content jsonb := pg_catalog.jsonb_build_object(
        'command', command,
        'object', object,
        'statement', pg_catalog."left"(pg_catalog.current_query(), 2000),
        'request_id', nullif(pg_catalog.current_setting('flux.request_id', true), ''),
        'relations', flux.describe(relations),
        'dropped', coalesce((select pg_catalog.jsonb_agg(d::bigint) from pg_catalog.unnest(dropped) d), '[]'),
        'resync', coalesce((select pg_catalog.jsonb_agg(r::bigint) from pg_catalog.unnest(resync) r), '[]'));
begin
    perform flux.emit(prefix, content::json, true);
    if prefix = 'flux.ddl' then
        perform flux.emit(prefix, (content || pg_catalog.jsonb_build_object('xid', pg_catalog.pg_current_xact_id()::text))::json, false);
    end if;
end $$;

revoke execute on function flux.emit(text, json, boolean) from public;
revoke execute on function flux.refusal(oid) from public;
revoke execute on function flux.arm(oid) from public;
revoke execute on function flux.disarm_tag(oid) from public;
revoke execute on function flux.disarm_attempts(oid, text, boolean) from public;
revoke execute on function flux.permit(oid) from public;
revoke execute on function flux.disarm(oid[]) from public;
revoke execute on function flux.track(oid, boolean, boolean, boolean) from public;
revoke execute on function flux.untrack(oid) from public;
revoke execute on function flux.announce(text, text, oid[], oid[], oid[]) from public;
