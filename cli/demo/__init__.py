"""`flux demo`: a small shop, an incident, and the answers."""
