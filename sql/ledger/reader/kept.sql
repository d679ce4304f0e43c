-- Tables in memory: what the catalog keeps itself, and small tables.
create schema kept;
use kept;
