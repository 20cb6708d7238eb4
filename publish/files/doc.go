// Package files publishes files of market data: JSON lines and CSV, plain or
// compressed. It keeps the place in each file, so that a run which was
// interrupted goes on where it ended.
//
// Each record carries a header with the run and the byte at which its line
// begins. A run that was killed could not say how far it came: the next one
// reads what the topics got since the saved place and leaves out the lines that
// it finds there. Where it may not read the topics, at most [WindowMax] lines
// are published again. A record is never left out for want of knowledge.
package files
