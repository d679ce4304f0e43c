-- Requests that failed in the same way, the newest first.
select request_id, started_at as "at", code_version
from requests
where service is not distinct from $service and method is not distinct from $method
  and route is not distinct from $route and error_type is not distinct from $error_type
  and error_location is not distinct from $error_location and request_id <> $request_id
  and not coalesce(is_replay, false) and ({failed})
order by started_at desc
