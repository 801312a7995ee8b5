"""Who owns a shard: claims, takeover, and the duties of an owner."""
