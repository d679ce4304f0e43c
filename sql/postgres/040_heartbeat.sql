-- The heartbeat: a transactional message with the transactions that are running. An attempt whose
-- transaction is older, not running, and was not decoded as committed before it, was rolled back.
-- objects: function flux.heartbeat(text)

-- The commit is flushed at once (synchronous_commit), also on an idle server.
create or replace function flux.heartbeat(nonce text)
returns void language plpgsql volatile as $$
begin
    perform pg_catalog.set_config('synchronous_commit', 'on', true);
    -- The snapshot is taken before the message is written: whoever is not in it has ended before.
    perform pg_catalog.pg_logical_emit_message(true, 'flux.heartbeat', pg_catalog.json_build_object(
        'snapshot', pg_catalog.pg_current_snapshot()::pg_catalog.text,
        'at', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8,
        'nonce', nonce)::pg_catalog.text);
end $$;

revoke execute on function flux.heartbeat(text) from public;
