select source, from_lsn, to_lsn, from_at, to_at, reason from gaps order by source, from_lsn;
