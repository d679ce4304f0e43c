-- %(relation_id)s, %(relation)s, %(is_new)s: a new table needs a first state.
select flux.announce('TRACK', %(relation)s::text,
    (select pg_catalog.array_agg(m.relation_id) from flux.member m where m.root_id = %(relation_id)s::oid),
    '{}', case when %(is_new)s::boolean then array[%(relation_id)s::oid] else '{}' end)
