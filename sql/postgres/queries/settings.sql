-- %(name)s, %(value)s
insert into flux.setting (name, value) values (%(name)s, %(value)s)
on conflict (name) do update set value = excluded.value
