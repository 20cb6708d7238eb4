// Package schemas reads records in the wire format of Confluent's schema registry,
// which Redpanda's speaks too, and writes each as JSON with the digits that were
// sent: Avro, Protobuf, and JSON with a schema.
package schemas
