-- Versions of relations that are tracked from here on. A version that says nothing new is not
-- stored again: the stream says it again after a restart. (Stored all the same: `every`, when the batch
-- also ends the tracking of some, and of two versions of one relation.)
insert into relations by name
with newest as (
    select relation_id, arg_max(row(relation, columns, replica_identity, key, missing, lossy, root_id,
                                    row_columns, tracked), lsn) as shape
    from relations
    where source = $source
    group by relation_id
)
select $source as source, batch.*, true as tracked
from batch
left join newest on newest.relation_id = batch.relation_id
where $every or newest.shape is distinct from row(batch.relation, batch.columns, batch.replica_identity, batch.key,
                                        batch.missing, batch.lossy, batch.root_id, batch.row_columns, true)
   or (select count(*) from batch as other where other.relation_id = batch.relation_id) > 1;
