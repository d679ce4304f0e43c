-- Rows of a copy as baseline changes; `batch` is what arrived: key, after, ordinal.
insert into changes by name
select $source as source, $commit_lsn::ubigint as commit_lsn, $commit_lsn::ubigint as lsn,
       ordinal::ubigint as seq, make_timestamptz($at_us::bigint) as "at", $relation as relation,
       $relation_id::uinteger as relation_id, key, 'baseline' as op, after, 'committed' as outcome
from batch;
