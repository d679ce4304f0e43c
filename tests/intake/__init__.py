"""The OTLP intake: real HTTP, real exporters of two languages, a real ledger."""
