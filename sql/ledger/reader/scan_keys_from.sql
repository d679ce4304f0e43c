-- The keys of a table in their order, from one on.
select distinct key
from changes
where relation = $relation and source = $source and relation_id = $relation_id
  and key >= $first
order by key
limit $count;
