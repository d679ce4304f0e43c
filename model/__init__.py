"""The vocabulary of Flux: log positions, relations, keys, batches, outcomes, errors. No I/O."""
