-- POST /profile
update public.users set name = %(name)s where id = %(user)s
