-- POST /checkout: done.
update public.orders set state = 'paid' where id = %(order)s
