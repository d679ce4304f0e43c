"""The browser of incidents: `flux tui`.

What it promises: the same questions as the command line, asked through `flux.ledger.Ledger` alone, and drawn
with the same lines. It knows no SQL of storage and no server. Questions are asked by one thread that owns the
ledger (`asking.Desk`), so that a key is never held up by one; an answer that nobody waits for any more is
interrupted. Every value is escaped before it is drawn.

`actions.ACTIONS` is the one table of what can be done: keys, footer, help, palette and docs are made of it.
"""
