-- flux init --remove: drops what Flux made and nothing else. Order: event triggers (they would follow
-- what comes), tracking, publications, functions, tables, role, schema. Nothing is dropped with CASCADE:
-- what somebody built on it is named in an error, and nothing has happened then.

do $$
declare
    made record;
begin
    for made in select m.name from flux.made m where m.kind = 'event trigger' loop
        execute pg_catalog.format('drop event trigger if exists %I', made.name);
    end loop;
    perform flux.disarm((select pg_catalog.array_agg(m.relation_id) from flux.member m));
    for made in select m.name from flux.made m where m.kind = 'publication' loop
        execute pg_catalog.format('drop publication if exists %I', made.name);
    end loop;
    if pg_catalog.to_regrole('flux_capture') is not null then
        for made in
            select n.oid::pg_catalog.regnamespace as schema from flux.made m
            join pg_catalog.pg_namespace n on n.oid::text = m.name where m.kind = 'usage'
        loop
            execute pg_catalog.format('revoke usage on schema %s from flux_capture', made.schema);
        end loop;
        execute 'revoke all on schema flux from flux_capture';
        execute 'revoke all on all tables in schema flux from flux_capture';
        execute 'revoke all on all sequences in schema flux from flux_capture';
        execute 'revoke all on all functions in schema flux from flux_capture';
    end if;
    for made in
        select p.oid::pg_catalog.regprocedure as name from pg_catalog.pg_proc p
        where p.pronamespace = 'flux'::pg_catalog.regnamespace
          and pg_catalog.obj_description(p.oid, 'pg_proc') like 'Flux %'
    loop
        execute pg_catalog.format('drop function %s', made.name);
    end loop;
    if exists (select from flux.made m where m.kind = 'role') and pg_catalog.to_regrole('flux_capture') is not null then
        begin
            drop role flux_capture;
        exception when dependent_objects_still_exist or insufficient_privilege then
            raise notice 'role flux_capture stays: something outside Flux depends on it';
        end;
    end if;
    drop sequence flux.secret;
    drop table flux.tracked, flux.member, flux.made, flux.setting;
    drop schema flux;
end $$;
