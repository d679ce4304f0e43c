-- From these positions on the relations, and what lies under them, are captured no longer: the version in
-- force there again, marked so.
insert into relations by name
with mine as (from relations where source = $source),
gone as (select unnest($relation_ids) as relation_id, unnest($lsns)::ubigint as lsn),
each_gone as (
    select distinct mine.relation_id, gone.lsn
    from gone join mine on gone.relation_id in (mine.relation_id, mine.root_id)
)
select mine.* replace (each_gone.lsn as lsn, false as tracked)
from each_gone asof join mine on mine.relation_id = each_gone.relation_id and each_gone.lsn > mine.lsn
where mine.tracked;
