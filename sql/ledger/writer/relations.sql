-- The versions of every relation that are in force at `since` or later, with the name that the root has
-- then: a partition has a version, too, where its root got another name.
with mine as (
    select *, lead(lsn) over of_relation as until_lsn, lag(relation) over of_relation as former_name
    from relations
    where source = $source
    window of_relation as (partition by relation_id order by lsn)
),
moment as (
    select relation_id, lsn from mine
    union
    select leaf.relation_id, root.lsn
    from mine as leaf
    join mine as root on root.relation_id = leaf.root_id and root.lsn > leaf.lsn
    where leaf.root_id <> leaf.relation_id and root.relation <> root.former_name
),
version as (
    select mine.* replace (moment.lsn as lsn, lead(moment.lsn) over (partition by moment.relation_id order by moment.lsn)
                           as until_lsn)
    from moment asof join mine on mine.relation_id = moment.relation_id and moment.lsn >= mine.lsn
)
select version.* exclude (until_lsn, former_name), coalesce(root.relation, version.relation) as root
from version
asof left join mine as root on root.relation_id = version.root_id and version.lsn >= root.lsn
where version.until_lsn is null or version.until_lsn > $since::ubigint
order by version.lsn, version.relation_id;
