-- What a relation is: its root, key, columns. The one description, for messages and for the daemon.
-- objects: function flux.tree(oid); function flux.root(oid); function flux.identity_is_usable(oid)
-- objects: function flux.describe(oid[])

-- A relation and every partition under it.
create or replace function flux.tree(relation oid)
returns setof oid language sql stable set search_path = pg_catalog, pg_temp as $$
    select relation union select relid from pg_catalog.pg_partition_tree(relation)
$$;

-- The relation under which `relation` is recorded: the topmost tracked one above it, itself
-- included; the top of its tree if none is tracked.
create or replace function flux.root(relation oid)
returns oid language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select a.relid from pg_catalog.pg_partition_ancestors(relation) with ordinality a (relid, n)
         join flux.tracked t on t.relation_id = a.relid order by a.n desc limit 1),
        (select t.relation_id from flux.tracked t where t.relation_id = relation),
        pg_catalog.pg_partition_root(relation)::oid,
        relation)
$$;

-- Whether the server accepts an UPDATE or DELETE of a table whose updates are published. Where it
-- does not, the application's statement fails, so a table is published with updates only if it does.
-- From PostgreSQL 18 generated columns spoil a full identity; in a key they are never sent.
create or replace function flux.identity_is_usable(relation oid)
returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
    select case c.relreplident
        when 'n' then false
        when 'f' then pg_catalog.current_setting('server_version_num')::int < 180000 or not exists (
            select from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped)
        else exists (
            select from pg_catalog.pg_index i
            where i.indrelid = c.oid and i.indisvalid and i.indisunique and i.indimmediate and i.indpred is null
              and case c.relreplident when 'd' then i.indisprimary else i.indisreplident end
              and not exists (
                  select from pg_catalog.pg_attribute a
                  where a.attrelid = c.oid and a.attgenerated <> '' and a.attnum = any (i.indkey::int2[])))
        end
    from pg_catalog.pg_class c where c.oid = relation
$$;

-- JSON array of descriptions, by relation_id. Texts are printed under fixed settings. A partitioned
-- table below the root holds no rows and is left out.
create or replace function flux.describe(relations oid[])
returns json language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1 as $$
    select coalesce(json_agg(json_build_object(
            'relation_id', c.oid::bigint,
            'relation', n.nspname || '.' || c.relname,
            'root_id', root.oid::bigint,
            'root', root_schema.nspname || '.' || root.relname,
            'replica_identity', c.relreplident,
            'tracked', t.relation_id is not null,
            'rollbacks', coalesce(t.rollbacks, false),
            'key', coalesce(to_json(identity.names), '[]'),
            'columns', attributes.list) order by c.oid), '[]')
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_class root on root.oid = flux.root(c.oid)
    join pg_catalog.pg_namespace root_schema on root_schema.oid = root.relnamespace
    left join flux.tracked t on t.relation_id = root.oid
    left join lateral (
        select array_agg(a.attname::text order by k.n) as names
        from (select i.indkey, i.indnkeyatts from pg_catalog.pg_index i
              -- Not a deferrable one: until its check two rows have one key.
              where i.indrelid = c.oid and i.indisvalid and i.indimmediate
                and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end
              limit 1) i
        cross join lateral unnest(i.indkey::int2[]) with ordinality k (attnum, n)
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where k.n <= i.indnkeyatts) identity on true
    cross join lateral (
        select coalesce(json_agg(json_build_object(
            'name', a.attname,
            'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'attnum', a.attnum,
            'is_key', coalesce(a.attname::text = any (identity.names), false),
            'not_null', a.attnotnull,
            'generated', a.attgenerated <> '',
            -- A partitioned table has none itself: its leaves do.
            'missing', case when a.atthasmissing then (a.attmissingval::text::text[])[1]
                when c.relkind = 'p' then (
                    select (l.attmissingval::text::text[])[1]
                    from flux.tree(c.oid) leaf (oid) join pg_catalog.pg_attribute l on l.attrelid = leaf.oid
                    where l.attname = a.attname and l.atthasmissing limit 1) end
        ) order by a.attnum), '[]') as list
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) attributes
    where c.oid = any (relations) and (c.relkind <> 'p' or c.oid = root.oid)
$$;

revoke execute on function flux.tree(oid) from public;
revoke execute on function flux.root(oid) from public;
revoke execute on function flux.identity_is_usable(oid) from public;
revoke execute on function flux.describe(oid[]) from public;
