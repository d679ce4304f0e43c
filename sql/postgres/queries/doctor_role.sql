-- The capture role.
select r.rolcanlogin as may_login, r.rolreplication as may_replicate, r.rolbypassrls as bypasses_row_security,
       pg_catalog.has_schema_privilege(r.oid, 'flux', 'usage') as may_use_schema,
       pg_catalog.has_table_privilege(r.oid, 'flux.tracked', 'select') as may_read,
       pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'connect') as may_connect
from pg_catalog.pg_roles r where r.rolname = 'flux_capture'
