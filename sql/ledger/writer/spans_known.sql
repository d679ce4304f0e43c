-- Which of these spans the ledger has. The braces take the list of its files.
select trace_id, span_id
from read_parquet({files}, union_by_name => true)
where started_at between $since and $until and span_id in (select span_id from asked);
