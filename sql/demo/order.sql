-- POST /checkout: the order.
insert into public.orders (user_id, product_id) values (%(user)s, %(product)s) returning id
