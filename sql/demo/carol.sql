-- Who mends data by hand.
create role carol login;
grant select, update on public.users to carol;
