-- POST /upgrade
update public.users set plan = 'pro', credit = credit + 100 where id = %(user)s
