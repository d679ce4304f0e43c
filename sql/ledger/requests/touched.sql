-- Whether a request has a change that fits. The braces: a predicate compiled from a filter; its values are bound.
request_id in (select request_id from changes where {filter})
