-- Whether the server loads an output plugin: a slot that ends with the session.
-- %(slot)s, %(plugin)s
select pg_catalog.pg_create_logical_replication_slot(%(slot)s, %(plugin)s, true)
