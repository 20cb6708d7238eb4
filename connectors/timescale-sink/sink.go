package timescalesink

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// Sink is the sink of one task: one connection, opened when it is needed.
type Sink struct {
	connector  *Connector
	conn       *pgx.Conn
	generation int32
	open       map[connect.TopicPartition]openPartition
	busySince  map[connect.TopicPartition]time.Time
	paces      [marketdata.KindCount]pace
	unlimited  bool // lift TimescaleDB's decompression limit
	wholeTapes bool // replace rows of tapes through the hypertable, not chunk by chunk
	copyBuf    []byte
	arena      []row // of the plan that is being put
	closed     bool
}

// openPartition is what the sink remembers of a partition between Open and Release.
type openPartition struct {
	topicID int32 // its topic's row in connector_topics
	// deadBelow ends the range in which former generations left dead letters that
	// the partition now passes again; 0 for none.
	deadBelow int64
	// storedBelow is how far former generations came; 0 for none.
	storedBelow int64
	// stale says that a reset opened another generation since: what the sink knows
	// of the partition must be read again.
	stale bool
}

// enter has the Puts that follow made in a generation.
func (s *Sink) enter(generation int32) {
	if s.generation == generation {
		return
	}
	s.generation = generation
	for tp, o := range s.open {
		o.stale = true
		s.open[tp] = o
	}
}

const closeTimeout = 5 * time.Second

// connect opens the connection unless it is open and idle.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() && s.conn.PgConn().TxStatus() == 'I' {
		return nil
	}
	s.disconnect()
	conn, err := pgx.ConnectConfig(ctx, s.connector.connConfig.Copy())
	if err != nil {
		return adviseTLS(err)
	}
	s.conn = conn
	return nil
}

func (s *Sink) disconnect() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.conn.Close(ctx) // it is given up either way
	s.conn = nil
}

// abort ends the transaction of a Put that failed, so that its locks are free
// at once; where that fails the connection is given up.
func (s *Sink) abort(ctx context.Context) {
	if s.conn == nil || s.conn.IsClosed() {
		s.disconnect()
		return
	}
	if s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if _, err := s.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		s.disconnect()
	}
}

// Release implements connect.Sink. The ledger rows stay: they say where the
// next owner goes on.
func (s *Sink) Release(_ context.Context, tps []connect.TopicPartition) error {
	for _, tp := range tps {
		delete(s.open, tp)
		delete(s.busySince, tp)
	}
	return nil
}

// Close implements connect.Sink.
func (s *Sink) Close() error {
	s.closed = true
	s.disconnect()
	return nil
}
