"""What a store was told of shards, and must find again: less of it means that the server has come back older."""


class Known:
    """By shard: sequence and tick that it must at least be at."""

    def __init__(self) -> None:
        self._shards: dict[int, tuple[int, int]] = {}

    def of(self, shard: int) -> tuple[int, int]:
        return self._shards.get(shard, (0, 0))

    def learn(self, shard: int, *, sequence: int = 0, tick: int = 0) -> None:
        """The shard was there."""
        known = self.of(shard)
        self._shards[shard] = max(known[0], sequence), max(known[1], tick)

    def unlearn(self, shard: int) -> None:
        """What was known of it belongs to the owner before."""
        self._shards.pop(shard, None)
