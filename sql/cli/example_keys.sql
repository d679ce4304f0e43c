-- Some keys of a relation, to show what its keys look like. Braces are quoted literals.
select distinct key
from (select key from changes where relation = {relation} and key is not null limit 1000)
order by key
limit 3
