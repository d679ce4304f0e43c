-- Requests of a window that fit, the newest first. The braces: where they are read, whether one failed, and a filter;
-- its values are bound.
select request_id, trace_id, service, method, route, path, status, started_at as "at", duration_ms, error_type,
       error_message, error_location, code_version, {failed} as failed
from {requests} as requests
where not coalesce(is_replay, false)
  and ($since::timestamptz is null or started_at >= $since)
  and ($until::timestamptz is null or started_at <= $until)
  and ({filter})
order by started_at desc, request_id desc, service
limit $limit
