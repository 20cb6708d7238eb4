package config

import (
	"slices"
	"strings"
)

// Keys that belong to Kafka Connect's own runtime, to its Java clients or to its
// converters. A configuration that was written for Kafka Connect has them; here
// they decide nothing. A star stands for any ending.
var (
	connectorFramework = []string{
		"config.action.reload",
		"tasks.max.enforce",
		"key.converter", "key.converter.*",
		"value.converter", "value.converter.*",
		"header.converter", "header.converter.*",
		"connector.plugin.version",
		"errors.retry.timeout", "errors.retry.delay.max.ms",
		"errors.log.enable", "errors.log.include.messages",
		"errors.deadletterqueue.topic.replication.factor",
		"errors.deadletterqueue.context.headers.enable",
		"producer.override.*", "consumer.override.*", "admin.override.*",
	}
	workerFramework = []string{
		"group.id", "client.id",
		"key.converter", "key.converter.*",
		"value.converter", "value.converter.*",
		"header.converter", "header.converter.*",
		"offset.storage.*", "status.storage.partitions", "status.storage.replication.factor",
		"offset.flush.interval.ms", "offset.flush.timeout.ms",
		"plugin.path", "plugin.discovery", "config.providers", "config.providers.*",
		"connector.client.config.override.policy",
		"producer.*", "consumer.*", "admin.*",
		"heartbeat.interval.ms", "session.timeout.ms", "rebalance.timeout.ms",
		"scheduled.rebalance.max.delay.ms", "connect.protocol",
		"topic.creation.enable", "topic.tracking.enable", "topic.tracking.allow.reset",
		"exactly.once.source.support", "task.shutdown.graceful.timeout.ms",
		"metric.reporters", "metrics.num.samples", "metrics.sample.window.ms", "metrics.recording.level",
	}
)

// transformKeys are accepted where they say nothing; see refuse.
var transformKeys = []string{"transforms", "transforms.*", "predicates", "predicates.*"}

// plainConverters are those whose records this program reads as they are.
var plainConverters = []string{
	"org.apache.kafka.connect.json.JsonConverter",
	"org.apache.kafka.connect.storage.StringConverter",
	"org.apache.kafka.connect.converters.ByteArrayConverter",
}

func matches(patterns []string, key string) bool {
	for _, p := range patterns {
		if prefix, star := strings.CutSuffix(p, "*"); (star && strings.HasPrefix(key, prefix)) || key == p {
			return true
		}
	}
	return false
}

// refuse says why a framework key may not be ignored, or "": leaving it out
// would store something else than the user asked for.
func refuse(key, value string) string {
	switch key {
	case "transforms":
		if strings.TrimSpace(value) != "" {
			return "single-message transforms are not run here, and without them other data would be stored; " +
				"write a processor that turns the topic into the one you want, and remove the key"
		}
	case "value.converter":
		for _, c := range plainConverters {
			if value == c || value == c[strings.LastIndex(c, ".")+1:] {
				return ""
			}
		}
		return "records are read as JSON, whatever the converter; " + shortClass(value) + " would read something else: remove the key if the topics hold JSON"
	}
	return ""
}

func shortClass(class string) string { return class[strings.LastIndex(class, ".")+1:] }

// ConnectorFrameworkKeys are the keys that Decode accepts without effect.
func ConnectorFrameworkKeys() []string { return slices.Clone(connectorFramework) }

// WorkerFrameworkKeys are the keys that DecodeWorker accepts without effect.
func WorkerFrameworkKeys() []string { return slices.Clone(workerFramework) }
