-- Event triggers of ours, and whether each fires.
select e.evtname::text as name, e.evtenabled <> 'D' as enabled from pg_catalog.pg_event_trigger e
where e.evtname in ('flux_ddl_end', 'flux_ddl_drop', 'flux_ddl_rewrite')
