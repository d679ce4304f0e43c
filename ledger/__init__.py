"""DuckLake storage, and every question asked of it."""
