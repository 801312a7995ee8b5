"""The low-rate topics: definitions, lifecycle requests, blackouts and the catalog, and what they override."""
