-- Incidents: failing requests of one route, error type and location, with no quiet time of `gap_s` seconds between.
-- The id is made of what is the same however long the incident goes on.
with failing as (
    select request_id, service, method, route, error_type, error_location, error_message, code_version, status, started_at,
           started_at + to_microseconds(cast(1000 * coalesce(duration_ms, 0) as bigint)) as ended_at
    from requests
    where not coalesce(is_replay, false) and ({failed})
),
marked as (
    select *,
           coalesce(started_at - max(ended_at) over before_it > to_seconds($gap_s), true) as begins
    from failing
    window before_it as (
        partition by service, method, route, error_type, error_location order by started_at, request_id
        rows between unbounded preceding and 1 preceding
    )
),
numbered as (
    select *,
           sum(begins::integer) over (
               partition by service, method, route, error_type, error_location order by started_at, request_id
           ) as nth
    from marked
)
select substr(md5(concat_ws(chr(31), coalesce(service, ''), coalesce(method, ''), coalesce(route, ''),
                            coalesce(error_type, ''), coalesce(error_location, ''), arg_min(request_id, started_at))), 1, 8)
           as incident,
       service, method, route, error_type, error_location,
       count(*) as count,
       min(started_at) as first_at, max(ended_at) as last_at,
       max(ended_at) + to_seconds($gap_s) >= $now as open,
       list(distinct status order by status) filter (status is not null) as statuses,
       arg_max(error_message, started_at) as error_message,
       arg_min(code_version, started_at) as first_version, arg_max(code_version, started_at) as last_version,
       list(request_id order by started_at, request_id) as request_ids
from numbered
group by service, method, route, error_type, error_location, nth
having ($since::timestamptz is null or max(ended_at) >= $since)
   and ($until::timestamptz is null or min(started_at) <= $until)
order by last_at desc, incident
