-- What the shop's web framework does before a request's first write: say whose it is.
select pg_catalog.set_config('flux.request_id', %(request_id)s, true),
       pg_catalog.set_config('flux.actor', %(actor)s, true),
       pg_catalog.set_config('flux.attributes', %(attributes)s, true)
