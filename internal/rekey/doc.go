// Package rekey copies topics into one whose records are keyed by what they are
// of, exactly once: records and the group's offsets move in one transaction of
// Kafka (KIP-98, KIP-447). So a copy that is killed goes on where it was, and
// several at once divide the partitions.
package rekey
