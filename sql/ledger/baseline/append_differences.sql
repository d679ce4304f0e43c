insert into changes by name
select $source as source, $commit_lsn::ubigint as commit_lsn, $commit_lsn::ubigint as lsn,
       ($first::bigint + ordinal)::ubigint as seq, make_timestamptz($at_us::bigint) as "at",
       $relation as relation, $relation_id::uinteger as relation_id, key, op, before, after,
       'committed' as outcome
from baseline_differences;
