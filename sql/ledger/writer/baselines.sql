-- The baselines taken of a source, oldest first.
select relation_id, relation, lsn, epoch_us("at"), row_count
from baselines
where source = $source
order by lsn, relation;
