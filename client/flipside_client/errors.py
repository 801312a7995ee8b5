"""What can go wrong between a pricing system and Kafka, each with the way out."""


class FlipsideClientError(Exception):
    """Whatever this package raises on purpose."""


class Unreadable(FlipsideClientError):
    """A record is no assignment of version 1; it is counted and changes nothing."""


class KafkaUnreachable(FlipsideClientError):
    """No broker answered, or none let us in; the message names the address and the last complaint."""


class TopicMissing(FlipsideClientError):
    """Kafka answers, but the topic of assignments is not there; the message says how to create it."""


class NotStarted(FlipsideClientError):
    """A thing that needs Kafka was asked of a client that is not running."""


class WrongInstant(FlipsideClientError, ValueError):
    """``now`` is a number that is no milliseconds since 1970: most likely seconds; the message says what to pass."""
