-- POST /checkout: the payment, under the plan that the user has now.
insert into public.payments (order_id, plan, amount)
select %(order)s, u.plan, %(price)s from public.users u where u.id = %(user)s
