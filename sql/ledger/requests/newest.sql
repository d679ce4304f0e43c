-- When the last of the newest `limit` requests that fit began. Few columns of all rows: by it whole row groups are left
-- out when the requests themselves are read.
select min(started_at)
from (
    select started_at
    from {requests} as requests
    where not coalesce(is_replay, false)
      and ($since::timestamptz is null or started_at >= $since)
      and ($until::timestamptz is null or started_at <= $until)
      and ({filter})
    order by started_at desc
    limit $limit
)
