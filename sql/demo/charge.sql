-- POST /checkout: the price, and the plan that the pricing code came to (its bug: none at all).
update public.users set credit = credit - %(price)s, plan = %(plan)s where id = %(user)s
