-- The spans of a request.
select * from spans where request_id = $request_id order by started_at, span_id
