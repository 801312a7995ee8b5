#!/bin/sh
# Who may read and write which topic, as access rules of Kafka. Written by `make access` from flipside/topics/access.py.
#
# Needs brokers with an authorizer (authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer) and
# Kafka's kafka-acls.sh on the PATH. What no rule allows is refused. Rules are added, none is removed: the script can be
# run again.
#
#   BOOTSTRAP          host:port of a broker (127.0.0.1:9092)
#   COMMAND_CONFIG     properties of a user who may set rules (none)
#   FLIPSIDE_NAMESPACE as the workers have it (none)
#   OWNER, PRICING_SYSTEM, OPERATOR, MAINTAINER, INSTALLER, WORKER, ANALYSIS, ANALYST
#                      users of the roles (User:flipside-ROLE, such as User:flipside-worker)
set -eu
set -f
prefix=${FLIPSIDE_NAMESPACE:+$FLIPSIDE_NAMESPACE.}
acls() {
    kafka-acls.sh --bootstrap-server "${BOOTSTRAP:-127.0.0.1:9092}" \
        ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --force "$@"
}

# owner: the owner's systems: catalog, sales, rivals' prices
acls --allow-principal "${OWNER:-User:flipside-owner}" --operation Write \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.competitor-price.v1" \
    --topic "${prefix}pricing.sale.v1"

# pricing-system: pricing systems, by `flipside-client` or a client of their own
acls --allow-principal "${PRICING_SYSTEM:-User:flipside-pricing-system}" --operation Read \
    --topic "${prefix}pricing.experiment.assignment.v1"
acls --allow-principal "${PRICING_SYSTEM:-User:flipside-pricing-system}" --operation Write \
    --topic "${prefix}pricing.experiment.applied.v1"

# operator: people and pipelines that run `flipside experiment`, `blackout`, `graph`, `verify`, `dead-letters list`
acls --allow-principal "${OPERATOR:-User:flipside-operator}" --operation Read \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.sale.v1" \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.blackout.v1" \
    --topic "${prefix}pricing.experiment.assignment.v1" \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.applied.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.estimate.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.health.v1" \
    --topic "${prefix}pricing.experiment.sale-correction.v1" \
    --topic "${prefix}pricing.experiment.graph.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"
acls --allow-principal "${OPERATOR:-User:flipside-operator}" --operation Write \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.blackout.v1" \
    --topic "${prefix}pricing.experiment.graph.v1"

# maintainer: people who repair: `flipside dead-letters redrive`, `flipside rebuild`
acls --allow-principal "${MAINTAINER:-User:flipside-maintainer}" --operation Read \
    --topic "${prefix}pricing.experiment.checkpoint.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"
acls --allow-principal "${MAINTAINER:-User:flipside-maintainer}" --operation Write \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.competitor-price.v1" \
    --topic "${prefix}pricing.sale.v1" \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.blackout.v1" \
    --topic "${prefix}pricing.experiment.checkpoint.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"

# installer: people and pipelines that run `flipside topics create`
acls --allow-principal "${INSTALLER:-User:flipside-installer}" --operation Create --operation Describe --operation DescribeConfigs \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.competitor-price.v1" \
    --topic "${prefix}pricing.sale.v1" \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.blackout.v1" \
    --topic "${prefix}pricing.experiment.assignment.v1" \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.applied.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.checkpoint.v1" \
    --topic "${prefix}pricing.experiment.tick.v1" \
    --topic "${prefix}pricing.experiment.trigger.v1" \
    --topic "${prefix}pricing.experiment.estimate.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.health.v1" \
    --topic "${prefix}pricing.experiment.sale-correction.v1" \
    --topic "${prefix}pricing.experiment.graph.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"

# worker: `flipside worker`
acls --allow-principal "${WORKER:-User:flipside-worker}" --operation Read \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.competitor-price.v1" \
    --topic "${prefix}pricing.sale.v1" \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.blackout.v1" \
    --topic "${prefix}pricing.experiment.assignment.v1" \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.checkpoint.v1" \
    --topic "${prefix}pricing.experiment.tick.v1" \
    --topic "${prefix}pricing.experiment.trigger.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.sale-correction.v1" \
    --topic "${prefix}pricing.experiment.graph.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"
acls --allow-principal "${WORKER:-User:flipside-worker}" --operation Write \
    --topic "${prefix}pricing.experiment.definition.v1" \
    --topic "${prefix}pricing.experiment.assignment.v1" \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.checkpoint.v1" \
    --topic "${prefix}pricing.experiment.tick.v1" \
    --topic "${prefix}pricing.experiment.trigger.v1" \
    --topic "${prefix}pricing.experiment.sale-correction.v1" \
    --topic "${prefix}pricing.experiment.dead-letter.v1"
acls --allow-principal "${WORKER:-User:flipside-worker}" --operation Read --resource-pattern-type prefixed \
    --group "${prefix}flipside"

# analysis: `flipside analysis`
acls --allow-principal "${ANALYSIS:-User:flipside-analysis}" --operation Read \
    --topic "${prefix}pricing.catalog.v1" \
    --topic "${prefix}pricing.competitor-price.v1" \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.applied.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.estimate.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.health.v1" \
    --topic "${prefix}pricing.experiment.graph.v1"
acls --allow-principal "${ANALYSIS:-User:flipside-analysis}" --operation Write \
    --topic "${prefix}pricing.experiment.estimate.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.health.v1"

# analyst: people who read results: `flipside estimates`, `export`, `report`, notebooks
acls --allow-principal "${ANALYST:-User:flipside-analyst}" --operation Read \
    --topic "${prefix}pricing.experiment.assignment-log.v1" \
    --topic "${prefix}pricing.experiment.panel.v1" \
    --topic "${prefix}pricing.experiment.estimate.v1" \
    --topic "${prefix}pricing.experiment.sequence.v1" \
    --topic "${prefix}pricing.experiment.health.v1" \
    --topic "${prefix}pricing.experiment.sale-correction.v1"
