"""The OTLP intake: OpenTelemetry's spans come in over HTTP and become requests, spans and exchanges.

`intake.Intake` is what a capture run starts. `server` and `connection` speak HTTP, `reading` and `refusal`
the protocol, `spans` and `convention` turn spans into rows, `gathering` and `seen` bring each into the
ledger once.
"""
