insert into baselines by name
select $source as source, $relation_id::uinteger as relation_id, $relation as relation, $lsn::ubigint as lsn,
       make_timestamptz($at_us::bigint) as "at", $row_count::ubigint as row_count;
