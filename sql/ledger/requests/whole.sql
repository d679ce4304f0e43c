-- A request with all that is recorded of it; one row a service that took part.
select * , {failed} as failed
from requests
where request_id = $request_id and not coalesce(is_replay, false)
order by started_at, service
