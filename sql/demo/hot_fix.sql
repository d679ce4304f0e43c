-- What Carol types into psql: no request, no tag.
update public.users set credit = credit + 150 where email = 'alice@example.com'
