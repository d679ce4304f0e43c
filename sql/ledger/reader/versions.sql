-- Every version of every relation.
select * from relations order by source, relation_id, lsn;
