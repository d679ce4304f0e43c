-- From when on the ledger knows all rows of a relation: its first baseline. Braces are quoted literals.
select min("at") as "at", min(lsn) as lsn
from baselines
where relation = {relation}
