-- %(relation_id)s, %(rollbacks)s, %(identity_full)s, %(tag_trigger)s; returns whether it is new.
select flux.track(%(relation_id)s::oid, %(rollbacks)s::boolean, %(identity_full)s::boolean, %(tag_trigger)s::boolean)
