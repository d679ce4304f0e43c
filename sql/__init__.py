"""All SQL of Flux, as files."""
