-- Schema flux and what Flux remembers in the source. Repeatable: nothing that exists is changed.
-- objects: table flux.tracked; table flux.member; table flux.made; table flux.setting

do $$
begin
    if pg_catalog.to_regnamespace('flux') is null then
        create schema flux;
    elsif pg_catalog.to_regclass('flux.made') is null then
        raise exception using errcode = 'duplicate_schema',
            message = 'schema flux exists and was not made by Flux',
            hint = 'rename it: alter schema flux rename to flux_other';
    end if;
end $$;

-- The tables whose changes are recorded. A partitioned table is one row here: its root.
create table if not exists flux.tracked (
    relation_id   oid primary key,
    rollbacks     boolean not null default false,
    identity_full boolean not null default false,
    tracked_at    timestamptz not null default pg_catalog.now(),
    tag_trigger   boolean not null default true -- else only messages of the application tag its changes
);
-- Of an earlier release. Only where it is missing: it waits for everyone who reads the table.
do $$
begin
    if not exists (select from pg_catalog.pg_attribute a
                   where a.attrelid = 'flux.tracked'::regclass and a.attname = 'tag_trigger') then
        alter table flux.tracked add column tag_trigger boolean not null default true;
    end if;
end $$;

-- Every relation under a tracked one, itself included: how an attached or detached partition is noticed.
create table if not exists flux.member (
    relation_id oid primary key,
    root_id     oid not null
);

-- What Flux made or changed outside its own schema, and what was there before: all that --remove undoes.
create table if not exists flux.made (
    kind   text not null,
    name   text not null,
    before text,
    primary key (kind, name)
);

-- all_tables: tables created later are tracked as well; all_rollbacks: with their rolled-back changes;
-- all_tag_triggers: `off` without the trigger that tags.
create table if not exists flux.setting (
    name  text primary key,
    value text not null
);

-- Any role may call flux.tag, which lives here; nothing else is granted to public.
grant usage on schema flux to public;
