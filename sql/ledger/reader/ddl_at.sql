-- The schema change of a position.
select epoch_us("at"), request_id from ddl where source = $source and lsn = $lsn limit 1;
