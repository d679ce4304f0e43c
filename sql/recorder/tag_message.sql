-- The tag of a request as settings, and as the message that tags the changes of tables without a trigger. The
-- message is JSON in ASCII, so that it is right in a database of any encoding.
select set_config('flux.request_id', $1, true), set_config('flux.actor', $2, true), set_config('flux.attributes', $3, true), pg_logical_emit_message(true, 'flux.tag', $4::text)
