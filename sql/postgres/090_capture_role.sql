-- The role that `flux up` connects as. It may replicate, read the tracked tables (their first state) and
-- send heartbeats; nothing else. No password is set: alter role flux_capture password '...', or a
-- certificate, or peer authentication.
-- objects:

do $$
begin
    if not exists (select from pg_catalog.pg_roles r where r.rolname = 'flux_capture') then
        create role flux_capture login replication;
        insert into flux.made (kind, name) values ('role', 'flux_capture');
    end if;
end $$;
grant usage on schema flux to flux_capture;
grant select on all tables in schema flux to flux_capture;
grant select on sequence flux.secret to flux_capture;
grant execute on function flux.heartbeat(text, xid8[]) to flux_capture;
grant execute on function flux.tree(oid) to flux_capture;
grant execute on function flux.root(oid) to flux_capture;
grant execute on function flux.identity_is_usable(oid) to flux_capture;
grant execute on function flux.describe(oid[]) to flux_capture;
select flux.permit(t.relation_id) from flux.tracked t;
