-- Sessions that hold a lock on a relation. %(relation_id)s
select l.pid from pg_catalog.pg_locks l
where l.relation = %(relation_id)s::oid and l.granted and l.pid <> pg_catalog.pg_backend_pid()
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
group by l.pid order by l.pid
