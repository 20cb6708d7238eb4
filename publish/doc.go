// Package publish writes market data to Redpanda or Kafka topics: publish and
// forget. Each record is checked by the rules by which it will be decoded, gets
// the key and topic of its kind, and is written idempotently with the
// acknowledgement of all in-sync replicas, lz4-compressed.
//
// What a nil error of a record means: the brokers have it, once. A producer
// that dies before it knows has to send again what was not acknowledged, and may
// then write a record twice; in upsert mode both make one row. An error that
// wraps [ErrUnknownOutcome] says that the record may have been written or not.
//
//	p, err := publish.New(publish.WithBrokers("localhost:9092"))
//	...
//	results, err := p.PublishTrades(ctx, trades)  // waits; where each record lies
//	err = p.EnqueueTrade(ctx, &trade, nil)        // does not wait for the brokers
//	err = p.Close(ctx)                            // waits for what is buffered
package publish
