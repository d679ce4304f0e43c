-- A stretch of the log that the ledger does not have.
insert into gaps by name
select $source as source, $from_lsn::ubigint as from_lsn, $to_lsn::ubigint as to_lsn,
       make_timestamptz($from_us::bigint) as from_at, make_timestamptz($to_us::bigint) as to_at,
       $reason as reason;
