select source, relation_id, key, "row", lossy from table_at($relation, $lsn::ubigint) limit $limit;
