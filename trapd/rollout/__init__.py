"""The thinking: what to do next, from what is wanted and what is seen. No clock, no I/O, no asyncio, no random."""
