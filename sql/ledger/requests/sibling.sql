-- The request of the same route nearest in time that went well.
select request_id
from requests
where service is not distinct from $service and method is not distinct from $method
  and route is not distinct from $route and request_id <> $request_id
  and not coalesce(is_replay, false) and not ({failed}) and coalesce(status, 200) < 400
order by abs(epoch_us(started_at) - epoch_us($at::timestamptz))
limit 1
