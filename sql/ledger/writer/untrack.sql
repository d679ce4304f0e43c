-- The relations under these roots are tracked no longer: their newest version again, marked so.
insert into relations by name
with newest as (
    select arg_max(relations, lsn) as version
    from relations
    where source = $source and list_contains($roots, root_id)
    group by relation_id
)
select * replace (lsn + 1 as lsn, false as tracked)
from (select unnest(version) from newest)
where tracked;
