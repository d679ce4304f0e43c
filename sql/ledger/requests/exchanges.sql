-- What a request asked of others, in its order.
select * from exchanges where request_id = $request_id order by seq
