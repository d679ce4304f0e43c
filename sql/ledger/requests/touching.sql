-- Of requests that are recorded: what they were.
select request_id, method, route, path, status
from requests
where request_id in (select unnest($request_ids::varchar[])) and not coalesce(is_replay, false)
