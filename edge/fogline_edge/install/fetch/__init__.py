"""The short-lived child that fetches and verifies: `python -m fogline_edge.install.fetch`.

httpx and tuf cost as much memory as a small model, so the agent's own process imports neither:
nothing here but `messages` may be imported by it.
"""
