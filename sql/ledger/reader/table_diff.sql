select source, relation_id, key, op, changed, lossy from table_diff($relation, $since::ubigint, $until::ubigint);
