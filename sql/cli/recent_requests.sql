-- The newest request ids that begin so, for shell completion: recorded ones first, then those that are known by their
-- tag alone. Braces are quoted literals.
with recorded as (
    select request_id, row_number() over (order by max(started_at) desc) as nth
    from requests where starts_with(request_id, {prefix}) group by request_id
),
tagged as (
    select request_id, row_number() over (order by max(lsn) desc) as nth
    from contexts where starts_with(request_id, {prefix}) group by request_id
)
select request_id
from (select request_id, 0 as place, nth from recorded union all select request_id, 1, nth from tagged)
group by request_id
order by min(place), min(nth)
limit 30
