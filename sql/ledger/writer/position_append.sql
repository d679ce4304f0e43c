-- Where the source's log has been read to; committed together with the rows up to there.
insert into positions by name
select $source as source, $slot as slot, $system_identifier as system_identifier,
       $timeline::ubigint as timeline, $commit_lsn::ubigint as commit_lsn,
       make_timestamptz($at_us::bigint) as "at", $end_lsn::ubigint as end_lsn;
