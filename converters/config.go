package converters

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/qicore/tickconnect/converters/schemas"
)

// native is the form of this product's own producers: the topic's name tells the
// kind, and the sink reads it itself.
const native = "native"

// Config is what a sink's configuration embeds.
type Config struct {
	ValueConverter string `json:"value.converter" jsonschema:"description=The form of the records: native for those of this product's producers or the name of a program that wrote them. json: JSON of any form whose fields are named in value.converter.fields. avro and protobuf and jsonschema: records with the header of a schema registry.,enum=native,enum=cryptofeed,enum=tardis,enum=ccxt,enum=json,enum=avro,enum=protobuf,enum=jsonschema"`
	MapConfig
	SchemaConfig
	CryptofeedConfig
	TardisConfig
	CCXTConfig
}

// Default gives the defaults.
func Default() Config {
	return Config{ValueConverter: native, CryptofeedConfig: DefaultCryptofeed(), TardisConfig: DefaultTardis(), CCXTConfig: DefaultCCXT()}
}

// The names of the converters.
const (
	cryptofeedName = "cryptofeed"
	tardisName     = "tardis"
	ccxtName       = "ccxt"
	jsonName       = "json"
	avroName       = "avro"
	protobufName   = "protobuf"
	jsonSchemaName = "jsonschema"
)

var names = []string{native, cryptofeedName, tardisName, ccxtName, jsonName, avroName, protobufName, jsonSchemaName}

// classes are the names that Kafka Connect's users know.
var classes = map[string]string{
	"io.confluent.connect.avro.AvroConverter":         avroName,
	"io.confluent.connect.protobuf.ProtobufConverter": protobufName,
	"io.confluent.connect.json.JsonSchemaConverter":   jsonSchemaName,
}

// plain are Kafka Connect's converters that leave a JSON text as it is.
var plain = []string{
	"org.apache.kafka.connect.json.JsonConverter",
	"org.apache.kafka.connect.storage.StringConverter",
	"org.apache.kafka.connect.converters.ByteArrayConverter",
}

func (c *Config) name() string {
	for _, class := range plain {
		if c.ValueConverter == class || c.ValueConverter == class[strings.LastIndex(class, ".")+1:] {
			return native
		}
	}
	if name, ok := classes[c.ValueConverter]; ok {
		return name
	}
	return c.ValueConverter
}

// isMapped says whether value.converter.fields counts.
func isMapped(name string) bool {
	return slices.Contains([]string{jsonName, avroName, protobufName, jsonSchemaName}, name)
}

// Validate says what is wrong, each message beginning with the key.
func (c *Config) Validate() error {
	name := c.name()
	if !slices.Contains(names, name) {
		return fmt.Errorf("value.converter: %q is none of %s, nor a converter of Kafka Connect that reads plain JSON", c.ValueConverter, strings.Join(names, ", "))
	}
	if !isMapped(name) && (c.Kind != "" || len(c.Fields) > 0) {
		return fmt.Errorf("value.converter: %q takes no value.converter.kind and no value.converter.fields; json, avro, protobuf and jsonschema do", c.ValueConverter)
	}
	switch name {
	case cryptofeedName:
		return c.CryptofeedConfig.Validate()
	case tardisName:
		return c.TardisConfig.Validate()
	case ccxtName:
		return c.CCXTConfig.Validate()
	case jsonName:
		return c.MapConfig.Validate()
	case avroName, protobufName, jsonSchemaName:
		return errors.Join(c.MapConfig.Validate(), c.SchemaConfig.Validate())
	}
	return nil
}

// Converter makes the converter; nil for the native form.
func (c *Config) Converter() Converter {
	switch c.name() {
	case cryptofeedName:
		return NewCryptofeed(c.CryptofeedConfig)
	case tardisName:
		return NewTardis(c.TardisConfig)
	case ccxtName:
		return NewCCXT(c.CCXTConfig)
	case jsonName:
		return NewMapped(c.MapConfig)
	case avroName:
		return newMapped(c.MapConfig, schemas.Avro{Registry: c.registry()})
	case protobufName:
		return newMapped(c.MapConfig, schemas.Protobuf{Registry: c.registry()})
	case jsonSchemaName:
		return newMapped(c.MapConfig, schemas.JSON{Registry: c.registry()})
	}
	return nil
}
