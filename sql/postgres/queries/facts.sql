-- What Flux must know of a server. The timeline is that of the newest segment; 0 on a standby.
select
    s.system_identifier::text                                                   as system_identifier,
    case when pg_catalog.pg_is_in_recovery() then 0
         else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int
    end                                                                         as timeline,
    pg_catalog.current_setting('server_version_num')::int                       as version_num,
    pg_catalog.current_setting('server_version')                                as version,
    pg_catalog.current_setting('wal_level')                                     as wal_level,
    pg_catalog.getdatabaseencoding()::text                                      as encoding,
    pg_catalog.current_database()::text                                         as database,
    current_user::text                                                          as user_name,
    (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) as is_superuser,
    (select r.rolsuper or r.rolreplication from pg_catalog.pg_roles r where r.rolname = current_user) as may_replicate,
    pg_catalog.pg_is_in_recovery()                                              as is_standby,
    pg_catalog.to_regclass('flux.made') is not null                             as is_installed
from pg_catalog.pg_control_system() s
