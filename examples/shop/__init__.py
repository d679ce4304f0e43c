"""A small shop, as anybody would write one: FastAPI on PostgreSQL, with a payment service beside it."""
