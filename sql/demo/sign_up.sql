-- POST /signup
insert into public.users (email, plan) values (%(email)s, 'free') returning id
