// Package connect holds the words that sources, the worker and sinks share:
// records, batches, the Sink and Source interfaces, and the kinds of error that
// tell the worker what to do. It depends on the standard library alone, so that
// a new target needs to know nothing else.
//
// The life of a record: a [Source] delivers it to the worker, which has the
// connector [Preparer.Prepare] it, queues it in the lane of its partition, and
// hands it with others to [Sink.Put], together with the offsets that come next.
package connect
