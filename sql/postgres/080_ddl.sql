-- Schema changes: what the event triggers call. SECURITY DEFINER, since any role runs DDL, and TOTAL:
-- whatever goes wrong in here becomes a warning, never a failure of the application's DDL.
-- objects: function flux.ddl_end(); function flux.ddl_drop(); function flux.ddl_rewrite()
-- objects: function flux.follow(text, text, oid[], oid[], oid[])

-- Arms the roots again, publishes a table that lost or regained its key where it belongs, and
-- announces their shapes. flux.busy keeps the commands in here from being followed themselves.
create or replace function flux.follow(command text, object text, roots oid[], dropped oid[], resync oid[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    root   oid;
    before oid[];
    after  oid[];
begin
    foreach root in array roots loop
        -- Absent if it was attached to another root in this loop.
        continue when not exists (select from flux.tracked t where t.relation_id = root);
        before := array(select m.relation_id from flux.member m where m.root_id = root order by 1);
        perform flux.arm(root);
        after := array(select m.relation_id from flux.member m where m.root_id = root order by 1);
        -- Only ALTER TABLE attaches and detaches tables that hold rows.
        if command = 'ALTER TABLE' and before <> after then
            resync := resync || root;
            dropped := dropped || array(select b from pg_catalog.unnest(before) b except select m.relation_id from flux.member m);
        end if;
    end loop;
    perform flux.publish();
    perform flux.announce(command, object,
        (select array_agg(m.relation_id) from flux.member m where m.root_id = any (roots)), dropped,
        (select array_agg(distinct r) from pg_catalog.unnest(resync) r where r = any (select t.relation_id from flux.tracked t)));
end $$;

-- ddl_command_end
create or replace function flux.ddl_end()
returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    touched  oid[];
    roots    oid[];
    resync   oid[] := coalesce(nullif(pg_catalog.current_setting('flux.rewritten', true), ''), '{}')::oid[];
    relation oid;
    object   text;
begin
    if pg_catalog.current_setting('flux.busy', true) = 'on' then
        return;
    end if;
    perform pg_catalog.set_config('flux.busy', 'on', true);
    begin
        select coalesce(array_agg(distinct c.objid) filter (where c.classid = 'pg_catalog.pg_class'::regclass), '{}'),
               pg_catalog.min(c.object_identity)
        into touched, object
        from pg_catalog.pg_event_trigger_ddl_commands() c;

        -- With --all, a new table is tracked, and so is one that was a partition until now.
        if exists (select from flux.setting s where s.name = 'all_tables' and s.value = 'on') then
            for relation in
                select t from pg_catalog.unnest(touched) t
                where tg_tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
                union
                select m.relation_id from flux.member m join pg_catalog.pg_class c on c.oid = m.relation_id
                where tg_tag = 'ALTER TABLE' and m.relation_id <> m.root_id and not c.relispartition
            loop
                if flux.refusal(relation) is null and not exists (
                    select from flux.tracked t where t.relation_id = relation) and not exists (
                    select from pg_catalog.pg_depend d where d.objid = relation and d.deptype = 'e') then
                    select resync || array_agg(m.root_id) into resync from flux.member m where m.relation_id = relation;
                    perform flux.disarm(array[relation]);
                    perform flux.track(relation, (select s.value = 'on' from flux.setting s where s.name = 'all_rollbacks'), false,
                        not exists (select from flux.setting s where s.name = 'all_tag_triggers' and s.value = 'off'));
                    if tg_tag <> 'CREATE TABLE' then
                        resync := resync || relation;
                    end if;
                end if;
            end loop;
        end if;

        -- With a type the texts of stored values change, and no row change says so: a renamed label, an
        -- attribute more. All but ADD VALUE count, also what cannot be told (DDL inside a function).
        if tg_tag = 'ALTER TYPE' and (pg_catalog.current_query() !~* 'add\s+value'
                or pg_catalog.current_query() ~* 'rename\s+value|attribute') then
            with recursive changed (type_id) as (
                select c.objid from pg_catalog.pg_event_trigger_ddl_commands() c
                where c.classid = 'pg_catalog.pg_type'::regclass
                union
                select r.reltype from pg_catalog.pg_class r where r.oid = any (touched) and r.relkind = 'c'
                union
                select d.type_id from changed cross join lateral (
                    select t.oid from pg_catalog.pg_type t
                    where t.typelem = changed.type_id or t.typbasetype = changed.type_id
                    union all
                    select m.oid from pg_catalog.pg_range g cross join lateral (values (g.rngtypid), (g.rngmultitypid)) m (oid)
                    where g.rngsubtype = changed.type_id
                    union all
                    select r.reltype from pg_catalog.pg_attribute a join pg_catalog.pg_class r on r.oid = a.attrelid
                    where a.atttypid = changed.type_id and not a.attisdropped and r.reltype <> 0
                ) d (type_id)
            )
            select resync || coalesce(array_agg(distinct m.root_id), '{}') into resync
            from flux.member m
            join pg_catalog.pg_attribute a on a.attrelid = m.relation_id and a.attnum > 0 and not a.attisdropped
            where a.atttypid in (select changed.type_id from changed);
        end if;

        -- Roots of what was touched, of what inherits from it, and of what left a tree.
        with recursive below (relation_id) as (
            select t from pg_catalog.unnest(touched) t
            union
            select i.inhrelid from pg_catalog.pg_inherits i join below b on i.inhparent = b.relation_id
        )
        select coalesce(array_agg(distinct t.relation_id), '{}') into roots
        from flux.tracked t
        where tg_tag in ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA')
           or t.relation_id in (select flux.root(b.relation_id) from below b)
           or t.relation_id in (select m.root_id from flux.member m join below b using (relation_id));

        if roots <> '{}' then
            perform flux.follow(tg_tag, object, roots, '{}', resync);
        end if;
    exception when others then
        raise warning 'flux could not follow %: %; run `flux doctor`', tg_tag, sqlerrm;
    end;
    perform pg_catalog.set_config('flux.rewritten', '', true);
    perform pg_catalog.set_config('flux.busy', '', true);
end $$;

-- sql_drop: runs before ddl_command_end, with the objects already gone.
create or replace function flux.ddl_drop()
returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    dropped  oid[];
    touched  oid[];
    index_dropped boolean;
    roots    oid[];
    resync   oid[];
    object   text;
begin
    if pg_catalog.current_setting('flux.busy', true) = 'on' then
        return;
    end if;
    perform pg_catalog.set_config('flux.busy', 'on', true);
    begin
        select coalesce(array_agg(m.relation_id) filter (where d.objsubid = 0), '{}'),
               coalesce(array_agg(distinct m.root_id) filter (where m.relation_id <> m.root_id and d.objsubid = 0), '{}'),
               coalesce(array_agg(distinct m.root_id) filter (where d.objsubid <> 0), '{}')
        into dropped, resync, touched
        from pg_catalog.pg_event_trigger_dropped_objects() d
        join flux.member m on m.relation_id = d.objid
        where d.classid = 'pg_catalog.pg_class'::regclass;

        select coalesce(pg_catalog.bool_or(d.object_type = 'index'), false),
               coalesce(pg_catalog.min(d.object_identity) filter (where d.original), '')
        into index_dropped, object
        from pg_catalog.pg_event_trigger_dropped_objects() d;

        if dropped <> '{}' then
            delete from flux.tracked t where t.relation_id = any (dropped);
            perform flux.disarm(dropped);
        end if;
        -- Of ALTER TABLE itself ddl_command_end tells, once.
        select coalesce(array_agg(distinct t.relation_id), '{}') into roots
        from flux.tracked t
        where t.relation_id = any (resync)
           or tg_tag <> 'ALTER TABLE' and t.relation_id = any (touched)
           or index_dropped and t.relation_id in (
               select m.root_id from flux.member m join pg_catalog.pg_class c on c.oid = m.relation_id
               where c.relreplident = 'i');
        if roots <> '{}' or dropped <> '{}' then
            perform flux.follow(tg_tag, object, roots, dropped, resync);
        end if;
    exception when others then
        raise warning 'flux could not follow %: %; run `flux doctor`', tg_tag, sqlerrm;
    end;
    perform pg_catalog.set_config('flux.busy', '', true);
end $$;

-- table_rewrite: rows change without row changes in the log. Remembered for ddl_command_end.
create or replace function flux.ddl_rewrite()
returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    root oid;
begin
    begin
        select m.root_id into root from flux.member m
        where m.relation_id = pg_catalog.pg_event_trigger_table_rewrite_oid();
        if found then
            perform pg_catalog.set_config('flux.rewritten', (coalesce(
                nullif(pg_catalog.current_setting('flux.rewritten', true), ''), '{}')::oid[] || root)::text, true);
        end if;
    exception when others then
        raise warning 'flux could not follow %: %; run `flux doctor`', tg_tag, sqlerrm;
    end;
end $$;

revoke execute on function flux.follow(text, text, oid[], oid[], oid[]) from public;
revoke execute on function flux.ddl_end() from public;
revoke execute on function flux.ddl_drop() from public;
revoke execute on function flux.ddl_rewrite() from public;
