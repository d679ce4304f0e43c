-- One heartbeat: a transactional message with the snapshot that decides open attempts.
-- %(nonce)s: comes back in the stream.
select flux.heartbeat(%(nonce)s)
