-- What the database itself can say about the row of the story.
select plan, credit from public.users where id = %(user)s
