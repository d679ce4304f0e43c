-- The event triggers. Only a superuser may create them; init goes on without where it can.
-- ENABLE ALWAYS: a table's shape and key are what they are, whoever changed them, also in a session
-- with session_replication_role = replica.
-- objects: event trigger flux_ddl_end; event trigger flux_ddl_drop; event trigger flux_ddl_rewrite

do $$
begin
    if not exists (select from pg_catalog.pg_event_trigger e where e.evtname = 'flux_ddl_end') then
        create event trigger flux_ddl_end on ddl_command_end
            when tag in ('ALTER TABLE', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO',
                         'ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA')
            execute function flux.ddl_end();
    end if;
    if not exists (select from pg_catalog.pg_event_trigger e where e.evtname = 'flux_ddl_drop') then
        create event trigger flux_ddl_drop on sql_drop execute function flux.ddl_drop();
    end if;
    if not exists (select from pg_catalog.pg_event_trigger e where e.evtname = 'flux_ddl_rewrite') then
        create event trigger flux_ddl_rewrite on table_rewrite execute function flux.ddl_rewrite();
    end if;
    insert into flux.made (kind, name)
    values ('event trigger', 'flux_ddl_end'), ('event trigger', 'flux_ddl_drop'), ('event trigger', 'flux_ddl_rewrite')
    on conflict do nothing;
end $$;
alter event trigger flux_ddl_end enable always;
alter event trigger flux_ddl_drop enable always;
alter event trigger flux_ddl_rewrite enable always;
