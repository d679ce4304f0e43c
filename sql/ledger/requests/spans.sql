-- The spans of a request, and of the rest of its traces.
select *
from spans
where request_id = $request_id or trace_id in (select unnest($trace_ids::varchar[]))
order by started_at, span_id
