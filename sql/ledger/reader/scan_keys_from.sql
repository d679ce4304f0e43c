-- The keys of a table in their order, from one up to another or to the end.
select distinct key
from {changes}
where relation = {relation} and source = {source} and relation_id = {relation_id}
  and key >= {first} and ({is_last} or key <= {last})
order by key
limit {count};
