package main

import (
	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// plugins are the kinds of connector in this binary: a new target is one line.
var plugins = []connect.Plugin{
	timescalesink.Plugin(),
}
