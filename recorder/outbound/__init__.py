"""Hooks in HTTP clients: each call of a request becomes a span and carries `traceparent`."""
