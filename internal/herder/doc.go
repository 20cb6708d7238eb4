// Package herder keeps a replica's connectors as they are wanted: those of the
// configuration file and those that were made over REST. What is wanted lies in one
// compacted topic, what each replica reports in another, and every replica reads
// both: there is no leader, and any replica answers for all.
package herder
