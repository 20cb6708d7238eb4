// Package connecttest is what every sink must do, as a suite that a new target
// runs with a few lines, and a store in memory that does it ([Memory]).
//
// The suite acts as the worker does: it prepares records where the connector is
// a [connect.Preparer], opens, puts, reads positions after a fence, isolates bad
// records by halves, and then reads back what the target holds.
package connecttest

import (
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// Row is one row of a target, as far as the suite looks at it. Key is the
// identity that the suite gave to the record, unique over all topics; Content is
// a positive number that the record carried. Both are below 2^31.
type Row struct {
	Key, Content int64
}

// Target is what a sink's test gives to the suite: New and Record at the least.
type Target struct {
	// New makes a fresh, empty store that belongs to the test alone. It is called
	// once or more for each case; the cases run in parallel.
	New func(t testing.TB) *Store

	// Record makes the raw record, as in the topic, that is stored as this row: two
	// records of one Key have the same natural key. The suite sets its Offset and
	// Timestamp.
	Record func(topic string, row Row) connect.Record

	// Topics are two or more names of topics that the connector accepts. The default
	// is connecttest-a and connecttest-b.
	Topics []string

	// NoOffsets says that the sinks store no offsets: they are held to at least once.
	NoOffsets bool

	// NewerWins says that the target keeps one row for each Key, the newest's
	// (promise 5); otherwise keys never repeat in the suite.
	NewerWins bool

	// ChecksLog says that Open refuses a partition whose topic has another ID than
	// the ledger knows.
	ChecksLog bool

	// Bad makes a record that passes Prepare and that only the target refuses.
	// Optional.
	Bad func(topic string, row Row) connect.Record

	// Schedules is the number of random schedules that are run, each from its own
	// seed, beginning with 1. The default is 8.
	Schedules int
}

// Store is one target in use. A hook that is nil skips what it is for, and the
// test's log says so.
type Store struct {
	// Connector makes a connector of the same name and configuration on this store
	// at each call, as each replica does. The suite closes it.
	Connector func(t testing.TB) connect.Connector

	// Rows reads every row that the store holds, doubles included.
	Rows func(t testing.TB) []Row

	// Ledger reads the counts that the store keeps for each partition, of the live
	// generation. Optional.
	Ledger func(t testing.TB) map[connect.TopicPartition]connect.Counts

	// Break starts an outage that lasts until mend is called: each call of a sink
	// fails. Rows need not work in the meantime. Optional.
	Break func(t testing.TB) (mend func())

	// Stall makes the store take requests without answering, Put's at the least,
	// until free is called. Optional.
	Stall func(t testing.TB) (free func())

	// LoseAnswer has the next Put's commit happen and its answer lost. Optional.
	LoseAnswer func(t testing.TB)

	// Hold has another transaction hold the partition's ledger row until free is
	// called. Optional.
	Hold func(t testing.TB, tp connect.TopicPartition) (free func())

	// Reset closes the connector's live generation and opens the next, with the
	// partition at next. Optional.
	Reset func(t testing.TB, tp connect.TopicPartition, next int64)

	// Snapshot takes a backup, which restore brings back whole. Optional.
	Snapshot func(t testing.TB) (restore func())
}

// testCase is one promise of a sink.
type testCase struct {
	name string
	// offsets says that the case needs a sink that stores offsets.
	offsets bool
	run     func(f *fixture)
}

var cases = []testCase{
	{"Interfaces", false, testInterfaces},
	{"Prepare", false, testPrepare},
	{"Init", true, testInit},
	{"RowsAndOffsetsMoveTogether", false, testRowsAndOffsets},
	{"Positions", true, testPositions},
	{"OpenAnswersInTheClaimsOrder", true, testOpenOrder},
	{"OpenTwice", false, testOpenTwice},
	{"LogMadeAgain", true, testLogMadeAgain},
	{"Reopen", true, testReopen},
	{"ReplayIsFenced", true, testReplay},
	{"TwoOwners", true, testTwoOwners},
	{"TwoOwnersRace", true, testTwoOwnersRace},
	{"OneFencedAmongMany", true, testOneFenced},
	{"UnopenedPartition", true, testUnopened},
	{"OffsetsWithoutRecords", false, testOffsetsOnly},
	{"FilteredRecords", false, testFiltered},
	{"DeadLetters", false, testDeadLetters},
	{"PublishDeadLetters", false, testPublishDeadLetters},
	{"BadRecord", false, testBadRecord},
	{"BadRecordStoresNothing", true, testBadStoresNothing},
	{"Outage", false, testOutage},
	{"LostAnswer", true, testLostAnswer},
	{"CancelledContext", false, testCancelled},
	{"StalledTarget", false, testStalled},
	{"BusyPartition", true, testBusy},
	{"Reset", true, testReset},
	{"RestoredStore", true, testRestoredStore},
	{"ReleaseThenOpen", false, testRelease},
	{"Close", false, testClose},
	{"RepeatedKeys", false, testRepeatedKeys},
	{"OlderRecordIsStale", true, testStale},
	{"ConcurrentSinks", false, testConcurrent},
	{"RandomSchedule", true, testSchedule},
	{"RandomScheduleAtLeastOnce", false, testScheduleAtLeastOnce},
}

// TestSink holds a target's sinks to the promises of [connect.Sink].
func TestSink(t *testing.T, target Target) {
	for _, c := range cases {
		if c.offsets && target.NoOffsets {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(newFixture(t, target))
		})
	}
}
