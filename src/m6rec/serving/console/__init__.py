"""Pages for people over the same service: server-rendered, no build step, no outside hosts."""
