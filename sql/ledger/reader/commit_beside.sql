-- The commit that changed a table next after a position (`step` 1), or last before it (-1), with its time, which all its
-- changes have. Not by groups and their order: those hold every commit in memory.
select arg_min(commit_lsn, commit_lsn * $step::hugeint), arg_min("at", commit_lsn * $step::hugeint)
from changes
where source = $source and relation_id = $relation_id and outcome = 'committed' and op <> 'baseline'
  and case when $step > 0 then commit_lsn > $lsn::ubigint else commit_lsn < $lsn::ubigint end
having count(*) > 0
