-- What Flux's own messages begin with (015_secret.sql).
select pg_catalog.pg_sequence_last_value('flux.secret'::pg_catalog.regclass)::text
