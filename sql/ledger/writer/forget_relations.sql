-- From these positions on the relations, and what lies under them then, are captured no longer: the version
-- in force there again, marked so.
insert into relations by name
with mine as (from relations where source = $source),
gone as (select unnest($relation_ids) as gone_id, unnest($lsns)::ubigint as gone_lsn),
-- By all versions, then by the one in force: a partition may have left its root before.
maybe as (select distinct mine.relation_id, gone.* from gone join mine on gone_id in (mine.relation_id, mine.root_id))
select distinct on (mine.relation_id, gone_lsn) mine.* replace (gone_lsn as lsn, false as tracked)
from maybe asof join mine on mine.relation_id = maybe.relation_id and gone_lsn > mine.lsn
where mine.tracked and gone_id in (mine.relation_id, mine.root_id);
