-- The tag of a request, for the rest of this transaction: all three settings, so that a second
-- request in the same transaction takes nothing over from the first. Empty means absent.
-- On one line of text for pg_stat_statements: parameters or constants, it is one entry.
select set_config('flux.request_id', $1, true), set_config('flux.actor', $2, true), set_config('flux.attributes', $3, true)
