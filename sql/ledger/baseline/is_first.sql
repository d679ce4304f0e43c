-- Whether the ledger knows no committed change of a relation, under any name it had.
select not exists (
    from changes
    where source = $source and outcome = 'committed' and relation_id = $relation_id
      and relation in (
          select relation from relations where source = $source and relation_id = $relation_id)
);
