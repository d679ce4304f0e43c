-- Who made changes, by context id.
select context_id, attributes, application_name, db_user, client_addr, backend_pid, statement
from {contexts} where source = {source} and context_id in ({ids});
