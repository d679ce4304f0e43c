-- Every version of every relation, with the newest name of its root.
with newest as (
    select source, relation_id, arg_max(relation, lsn) as name from relations group by source, relation_id
)
select r.*, coalesce(root.name, r.relation) as root
from relations as r
left join newest as root on root.source = r.source and root.relation_id = r.root_id
order by r.source, r.relation_id, r.lsn;
