select from_lsn, to_lsn, epoch_us(from_at), epoch_us(to_at), reason from gaps where source = {source} order by from_lsn;
