-- One of the commands that the demo ends with: all that the failing request attempted.
select relation, op, key, outcome from changes where request_id like '550e8400%' order by seq
