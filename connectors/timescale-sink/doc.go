// Package timescalesink stores market data in TimescaleDB hypertables exactly
// once: a ledger in the same database holds the next offset of each partition,
// and moves in the transaction that stores the rows.
//
// Reading order: tables.go (what is stored), prepare.go and row.go (a record
// becomes a row), open.go (claims), put.go (the transaction), fence.go (its
// guard), reduce.go, copy.go and merge.go (the rows), admin.go (resets).
package timescalesink
