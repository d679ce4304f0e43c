-- The newest request ids that begin so, for shell completion. Braces are quoted literals.
select request_id
from contexts
where starts_with(request_id, {prefix})
group by request_id
order by max(lsn) desc
limit 30
