-- The newest version of every relation that is tracked, with the name of its root.
with newest as (
    select relation_id, arg_max(relations, lsn) as version
    from relations
    where source = $source
    group by relation_id
)
select unnest(newest.version), coalesce(root.version.relation, newest.version.relation) as root
from newest
left join newest as root on root.relation_id = newest.version.root_id
where newest.version.tracked
order by newest.relation_id;
