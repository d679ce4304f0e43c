select pg_catalog.count(*) = 3 from pg_catalog.pg_event_trigger e
where e.evtname in ('flux_ddl_end', 'flux_ddl_drop', 'flux_ddl_rewrite')
