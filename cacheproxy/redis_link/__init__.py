"""Redis: connection, time budget, breaker, batching, scripts. The one room that imports redis."""
