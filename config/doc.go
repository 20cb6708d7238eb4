// Package config reads connector.yaml, fills configuration structs from flat
// keys, resolves secrets, and keeps them out of everything that people read.
//
// A configuration struct names its keys in json tags and documents them in
// jsonschema tags; the value that is passed in holds the defaults. Strict
// decoding, the list of keys and the documentation table all come from that one
// struct. The package knows the keys of no connector.
package config
