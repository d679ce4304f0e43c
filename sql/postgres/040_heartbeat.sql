-- The heartbeat: a transactional message with the transactions that are running. An attempt whose
-- transaction is older, not running, and was not decoded as committed before it, was rolled back.
-- objects: function flux.heartbeat(text, xid8[])

-- The commit is flushed at once (synchronous_commit), also on an idle server. Of the `doubtful`
-- transactions that are over it says which committed: a commit with nothing left of it (all changes
-- in savepoints that were rolled back) is not decoded.
create or replace function flux.heartbeat(nonce text, doubtful xid8[] default '{}')
returns void language plpgsql volatile as $$
declare
    seen pg_catalog.pg_snapshot := pg_catalog.pg_current_snapshot();
    committed pg_catalog.json;
    aborted pg_catalog.json;
begin
    if pg_catalog.cardinality(doubtful) operator(pg_catalog.>) 0 then
        select pg_catalog.json_agg(d.xid::pg_catalog.text) filter (where d.committed),
               pg_catalog.json_agg(d.xid::pg_catalog.text) filter (where not d.committed)
        into committed, aborted
        from (
            -- No status any more (the server has forgotten so old a transaction) counts as aborted: that
            -- nothing of it is left is known either way, only not whether by a savepoint.
            select x.xid, coalesce(pg_catalog.pg_xact_status(x.xid), 'aborted') operator(pg_catalog.=) 'committed' as committed
            from pg_catalog.unnest(doubtful) x (xid)
            -- Asking about a transaction of the future would be an error.
            where pg_catalog.pg_visible_in_snapshot(x.xid, seen)) d;
    end if;
    perform pg_catalog.set_config('synchronous_commit', 'on', true);
    -- The snapshot is taken before the message is written: whoever is not in it has ended before.
    perform pg_catalog.pg_logical_emit_message(true, 'flux.heartbeat', pg_catalog.concat(
        pg_catalog.pg_sequence_last_value('flux.secret'::pg_catalog.regclass), ' ', pg_catalog.json_build_object(
        'snapshot', seen::pg_catalog.text,
        'at', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8,
        'nonce', nonce, 'committed', committed, 'aborted', aborted)));
end $$;

revoke execute on function flux.heartbeat(text, xid8[]) from public;
