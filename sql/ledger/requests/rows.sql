-- The rows that requests changed, or tried to, and how often.
select source, relation, key,
       count(*) filter (outcome = 'committed') as committed,
       count(*) filter (outcome <> 'committed') as rolled_back,
       count(distinct request_id) as requests
from changes
where request_id in (select unnest($request_ids::varchar[]))
group by source, relation, key
order by rolled_back desc, committed desc, relation, key
limit $limit
