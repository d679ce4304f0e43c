-- POST /checkout: the goods.
update public.products set stock = stock - 1 where id = %(product)s returning price
