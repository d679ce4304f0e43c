-- The tag of a request as settings and, made of what they were set to, as the message that tags the changes of
-- tables without a trigger; in UTF-8 whatever the database's encoding. On a standby there is nothing to tag.
select case when not pg_is_in_recovery() then pg_logical_emit_message(true, 'flux.tag', convert_to(json_object('{request_id,actor,attributes}', array[set_config('flux.request_id', $1, true), set_config('flux.actor', $2, true), set_config('flux.attributes', $3, true)])::text, 'UTF8')) end
