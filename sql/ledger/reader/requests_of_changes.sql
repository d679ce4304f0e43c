-- The same among changes whose context was not recorded.
select distinct request_id from changes where starts_with(request_id, $prefix) order by request_id limit $limit;
