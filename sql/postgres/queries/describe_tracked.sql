-- Every relation under a tracked one.
select flux.describe((select pg_catalog.array_agg(m.relation_id) from flux.member m))
