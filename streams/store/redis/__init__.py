"""The store on Redis: each decision and each fold is one Lua call."""
