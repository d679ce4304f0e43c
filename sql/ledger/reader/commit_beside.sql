-- The commit that changed a table next after a position (`step` 1), or last before it (-1), with its time.
select commit_lsn, max("at") as "at"
from changes
where source = $source and relation_id = $relation_id and outcome = 'committed' and op <> 'baseline'
  and case when $step > 0 then commit_lsn > $lsn::ubigint else commit_lsn < $lsn::ubigint end
group by commit_lsn
order by commit_lsn * $step::hugeint
limit 1
