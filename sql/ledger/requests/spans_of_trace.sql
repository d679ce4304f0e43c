-- The spans of a request, and of the rest of its trace. Two equalities, each of which a Bloom filter answers.
select * from spans where request_id = $request_id
union all
select * from spans where trace_id = $trace_id and request_id is distinct from $request_id
order by started_at, span_id
