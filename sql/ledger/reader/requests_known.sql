-- Request ids that begin with a prefix.
select distinct request_id
from (select request_id from contexts union all select request_id from requests)
where starts_with(request_id, $prefix)
order by request_id limit $limit;
