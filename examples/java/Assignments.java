import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * The rule of docs/pricing-engineer.md in Java: reads the topic of assignments to its present end and prints, for every
 * unit and instant asked for, the arm that holds ("control" where none does).
 *
 * <p>Usage: java Assignments BOOTSTRAP TOPIC INSTANT...; needs kafka-clients and jackson-databind.
 */
public final class Assignments {
  record Decision(long epoch, long sequence, Instant effectiveAt, Optional<Instant> expiresAt, String arm) {
    static final Comparator<Decision> BY_VERSION =
        Comparator.comparingLong(Decision::epoch).thenComparingLong(Decision::sequence);

    static Decision read(JsonNode body) {
      if (body.path("version").asInt() != 1) {
        throw new IllegalArgumentException("version " + body.path("version") + ": this program reads version 1");
      }
      JsonNode end = body.required("expires_at");
      return new Decision(
          body.required("epoch").asLong(),
          body.required("sequence").asLong(),
          Instant.parse(body.required("effective_at").asText()),
          end.isNull() ? Optional.empty() : Optional.of(Instant.parse(end.asText())),
          body.required("arm").asText());
    }
  }

  /** The newest decision that has begun holds, until its lease ends; everything else is control. */
  static String arm(List<Decision> decisions, Instant now) {
    return decisions.stream()
        .filter(decision -> !decision.effectiveAt().isAfter(now))
        .max(Decision.BY_VERSION)
        .filter(newest -> newest.expiresAt().isPresent() && now.isBefore(newest.expiresAt().get()))
        .map(Decision::arm)
        .orElse("control");
  }

  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", arguments[0]);
    settings.put("enable.auto.commit", "false"); // no group: every reader reads all partitions
    ObjectMapper json = new ObjectMapper();
    Map<String, List<Decision>> units = new TreeMap<>();
    try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(arguments[1]).stream()
              .map(info -> new TopicPartition(info.topic(), info.partition()))
              .toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
        for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
          take(record, json, units);
        }
      }
    }
    for (var unit : units.entrySet()) {
      for (int index = 2; index < arguments.length; index++) {
        System.out.println(
            unit.getKey() + " " + arguments[index] + " " + arm(unit.getValue(), Instant.parse(arguments[index])));
      }
    }
  }

  /** Whether the brokers had a record only at the instant that it names, or later: then no reader takes it. */
  private static boolean isVoid(ConsumerRecord<String, byte[]> record) {
    var by = record.headers().lastHeader("ce_announceby");
    return by != null
        && record.timestampType() == TimestampType.LOG_APPEND_TIME
        && record.timestamp() >= Instant.parse(new String(by.value())).toEpochMilli();
  }

  /** One record: a tombstone forgets the unit, what cannot be read is told and left out. */
  private static void take(
      ConsumerRecord<String, byte[]> record, ObjectMapper json, Map<String, List<Decision>> units) {
    if (record.value() == null) {
      units.remove(record.key());
      return;
    }
    var type = record.headers().lastHeader("ce_type");
    if (type == null || !new String(type.value()).equals("flipside.assignment.v1")) {
      System.err.println("no assignment at offset " + record.offset());
      return;
    }
    if (isVoid(record)) {
      System.err.println("too late, and void, at offset " + record.offset());
      return;
    }
    try {
      units.computeIfAbsent(record.key(), unit -> new ArrayList<>()).add(Decision.read(json.readTree(record.value())));
    } catch (java.io.IOException | IllegalArgumentException error) {
      System.err.println("unreadable at offset " + record.offset() + ": " + error.getMessage());
    }
  }
}
