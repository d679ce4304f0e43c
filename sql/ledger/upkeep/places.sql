-- Places of changes in the order of rows, drawn by chance, always the same ones.
select relation, coalesce(key, ''), lsn
from ({reading}) using sample reservoir({count} rows) repeatable (1);
