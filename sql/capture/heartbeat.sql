-- One heartbeat: a transactional message with the snapshot that decides open attempts.
-- %(nonce)s: comes back in the stream.
-- %(doubtful)s: transactions that it is to name, as an array of texts.
select flux.heartbeat(%(nonce)s, %(doubtful)s::text[]::xid8[])
