-- How many requests there were, and failed, in each of `buckets` equal parts of a window: from `first_at`, the first
-- request or `since`, to `last_at`, the last request or `until`. `nth` counts the parts from 0.
with seen as (
    select started_at, {failed} as failed
    from requests
    where not coalesce(is_replay, false)
      and ($since::timestamptz is null or started_at >= $since)
      and ($until::timestamptz is null or started_at <= $until)
),
bounds as (
    select coalesce($since::timestamptz, min(started_at)) as first_at,
           coalesce($until::timestamptz, max(started_at)) as last_at
    from seen
)
select least((epoch_us(started_at) - epoch_us(first_at)) * $buckets
             // greatest(epoch_us(last_at) - epoch_us(first_at), 1), $buckets - 1) as nth,
       count(*) as requests, count(*) filter (failed) as failed, first_at, last_at
from seen, bounds
group by nth, first_at, last_at
order by nth
