package schemas

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/qicore/tickconnect/marketdata"
)

// node is a type of an Avro schema (Avro 1.12, "Schema Declaration"), compiled for
// reading. References to named types point at what they name.
type node struct {
	kind     kind
	logical  string // that is meant for the kind; "" for none
	scale    int    // of a decimal
	size     int    // of a fixed
	fields   []fieldNode
	items    *node   // of an array or a map
	branches []*node // of a union
	symbols  []string
}

type fieldNode struct {
	name marketdata.Name
	node *node
}

// kind is a type of Avro.
type kind uint8

const (
	kindNull kind = iota
	kindBoolean
	kindInt
	kindLong
	kindFloat
	kindDouble
	kindString
	kindBytes
	kindFixed
	kindEnum
	kindUnion
	kindRecord
	kindArray
	kindMap
)

var kinds = map[string]kind{
	"null": kindNull, "boolean": kindBoolean, "int": kindInt, "long": kindLong, "float": kindFloat, "double": kindDouble,
	"string": kindString, "bytes": kindBytes, "fixed": kindFixed, "enum": kindEnum, "union": kindUnion,
	"record": kindRecord, "error": kindRecord, "array": kindArray, "map": kindMap,
}

const (
	depthMax = 64
	// outMax bounds what a record becomes: a few bytes may announce millions of
	// elements that take no bytes.
	outMax = 16 << 20
)

// compileAvro compiles the last of schemas; it may refer to those before it.
func compileAvro(texts []namedText) (*node, error) {
	var cache avro.SchemaCache
	var schema *avro.Schema
	names := map[string]*node{}
	var root *node
	for _, text := range texts {
		var err error
		if schema, err = cache.Parse(text.text); err != nil {
			return nil, err
		}
		if root, err = (&compiler{names}).node(schema.Root(), ""); err != nil {
			return nil, err
		}
	}
	return root, nil
}

type compiler struct{ names map[string]*node }

func (c *compiler) node(s *avro.SchemaNode, namespace string) (*node, error) {
	n := &node{kind: kinds[s.Type]}
	switch s.Type {
	case "null", "boolean", "float", "double", "string", "int", "long", "bytes":
	case "record", "error", "enum", "fixed":
		name := s.Name
		if !strings.Contains(name, ".") && s.Namespace != "" {
			name = s.Namespace + "." + name
		}
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			namespace = name[:i]
		} else {
			namespace = ""
		}
		c.names[name] = n
		n.size = s.Size
		for _, symbol := range s.Symbols {
			n.symbols = append(n.symbols, string(marketdata.AppendText(nil, symbol)))
		}
		for i := range s.Fields {
			field, err := c.node(&s.Fields[i].Type, namespace)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", s.Fields[i].Name, err)
			}
			n.fields = append(n.fields, fieldNode{marketdata.NewName(s.Fields[i].Name), field})
		}
	case "array", "map":
		below := s.Items
		if s.Type == "map" {
			below = s.Values
		}
		var err error
		if n.items, err = c.node(below, namespace); err != nil {
			return nil, err
		}
	case "union":
		for i := range s.Branches {
			branch, err := c.node(&s.Branches[i], namespace)
			if err != nil {
				return nil, err
			}
			n.branches = append(n.branches, branch)
		}
	default:
		for _, name := range []string{s.Type, namespace + "." + s.Type} {
			if named, ok := c.names[name]; ok {
				return named, nil
			}
		}
		return nil, fmt.Errorf("the type %s is not known", s.Type)
	}
	n.logical, n.scale = logicalOf(s), s.Scale
	return n, nil
}

// logicalOf gives a logical type where it fits its type; else it is to be ignored,
// as the specification says.
func logicalOf(s *avro.SchemaNode) string {
	fits := map[string][]string{
		"bytes": {"decimal"}, "fixed": {"decimal", "uuid"}, "string": {"uuid"}, "int": {"date"},
		"long": {
			"timestamp-millis", "timestamp-micros", "timestamp-nanos",
			"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos",
		},
	}
	for _, logical := range fits[s.Type] {
		if s.LogicalType == logical {
			return strings.TrimPrefix(logical, "local-")
		}
	}
	return ""
}

// Avro reads records in Avro's binary encoding.
type Avro struct{ *Registry }

// AppendJSON appends a record as JSON, and tells x where its members are.
func (t Avro) AppendJSON(dst, value []byte, x *marketdata.Index) ([]byte, error) {
	id, payload, fault := cutHeader(value)
	if fault != nil {
		return dst, fault
	}
	c, err := t.schema(id, sr.TypeAvro)
	if err != nil {
		return dst, err
	}
	r := avroReader{in: payload, out: dst, most: len(dst) + outMax, index: x}
	if err := r.read(c.avro, 0); err != nil {
		return dst, &marketdata.Error{Reason: ReasonNotOfSchema, Message: fmt.Sprintf("the value is no record of schema %d: %v", id, err)}
	}
	if len(r.in) > 0 {
		return dst, &marketdata.Error{Reason: ReasonNotOfSchema, Message: fmt.Sprintf("the value is no record of schema %d: %d bytes are left over", id, len(r.in))}
	}
	return r.out, nil
}

// avroReader turns Avro's binary encoding into JSON.
type avroReader struct {
	in, out []byte
	most    int
	index   *marketdata.Index // of the record itself; nil within it
	marked  bool              // a text was written that is not plain
}

var (
	errShort = errors.New("it ends early")
	errText  = errors.New("a string is not UTF-8")
	errLarge = errors.New("it would become larger than 16 MiB of JSON")
	errDeep  = errors.New("it is nested too deeply")
	errTime  = errors.New("a time lies outside the years 1 to 9999")
)

func (r *avroReader) read(n *node, depth int) error {
	if depth > depthMax {
		return errDeep
	}
	if len(r.out) > r.most {
		return errLarge
	}
	switch n.kind {
	case kindNull:
		r.out = append(r.out, "null"...)
	case kindBoolean:
		b, err := r.take(1)
		if err != nil {
			return err
		}
		if b[0] > 1 {
			return fmt.Errorf("a boolean is %d", b[0])
		}
		r.out = strconv.AppendBool(r.out, b[0] == 1)
	case kindInt, kindLong:
		v, err := r.long()
		if err != nil {
			return err
		}
		return r.number(n, v)
	case kindFloat:
		b, err := r.take(4)
		if err != nil {
			return err
		}
		r.out, err = appendFloat(r.out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32)
		return err
	case kindDouble:
		b, err := r.take(8)
		if err != nil {
			return err
		}
		r.out, err = appendFloat(r.out, math.Float64frombits(binary.LittleEndian.Uint64(b)), 64)
		return err
	case kindString:
		b, err := r.sized()
		if err != nil {
			return err
		}
		return r.text(b)
	case kindBytes:
		b, err := r.sized()
		if err != nil {
			return err
		}
		r.bytes(n, b)
	case kindFixed:
		b, err := r.take(n.size)
		if err != nil {
			return err
		}
		r.bytes(n, b)
	case kindEnum:
		i, err := r.long()
		if err != nil {
			return err
		}
		if i < 0 || i >= int64(len(n.symbols)) {
			return fmt.Errorf("an enum has no symbol %d", i)
		}
		r.out, r.marked = append(r.out, n.symbols[i]...), true
	case kindUnion:
		i, err := r.long()
		if err != nil {
			return err
		}
		if i < 0 || i >= int64(len(n.branches)) {
			return fmt.Errorf("a union has no branch %d", i)
		}
		return r.read(n.branches[i], depth+1)
	case kindRecord:
		return r.record(n, depth)
	case kindArray, kindMap:
		return r.blocks(n, depth)
	}
	return nil
}

func (r *avroReader) record(n *node, depth int) error {
	index := r.index
	r.index = nil
	if index != nil {
		index.Begin()
	}
	r.out = append(r.out, '{')
	for i := range n.fields {
		f := &n.fields[i]
		if i > 0 {
			r.out = append(r.out, ',')
		}
		r.out = f.name.Append(r.out)
		at := len(r.out)
		r.marked = false
		if err := r.read(f.node, depth+1); err != nil {
			return err
		}
		if index != nil {
			index.Add(&f.name, r.out, at, !r.marked)
		}
	}
	r.out = append(r.out, '}')
	return nil
}

// blocks reads an array or a map: blocks of a count and so many elements; after a
// negative count comes the block's size in bytes.
func (r *avroReader) blocks(n *node, depth int) error {
	isMap, first := n.kind == kindMap, true
	r.index = nil
	open, shut := byte('['), byte(']')
	if isMap {
		open, shut = '{', '}'
	}
	r.out = append(r.out, open)
	for {
		count, err := r.long()
		if err != nil {
			return err
		}
		if count < 0 {
			if _, err := r.long(); err != nil {
				return err
			}
			count = -count
		}
		if count == 0 {
			r.out = append(r.out, shut)
			return nil
		}
		for range uint64(count) {
			if !first {
				r.out = append(r.out, ',')
			}
			first = false
			if isMap {
				key, err := r.sized()
				if err != nil {
					return err
				}
				if err := r.text(key); err != nil {
					return err
				}
				r.out = append(r.out, ':')
			}
			if err := r.read(n.items, depth+1); err != nil {
				return err
			}
		}
	}
}

func (r *avroReader) take(n int) ([]byte, error) {
	if n > len(r.in) {
		return nil, errShort
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b, nil
}

func (r *avroReader) long() (int64, error) {
	v, n := binary.Varint(r.in)
	if n <= 0 {
		return 0, errShort
	}
	r.in = r.in[n:]
	return v, nil
}

// sized takes bytes behind their length.
func (r *avroReader) sized() ([]byte, error) {
	n, err := r.long()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(len(r.in)) {
		return nil, errShort
	}
	return r.take(int(n))
}

func (r *avroReader) text(b []byte) error {
	out, plain := marketdata.AppendPlain(r.out, b)
	if !plain {
		if !utf8.Valid(b) {
			return errText
		}
		out, r.marked = marketdata.AppendText(out, string(b)), true
	}
	r.out = out
	return nil
}

// number writes an integer, or what its logical type makes of it.
func (r *avroReader) number(n *node, v int64) error {
	var t time.Time
	switch n.logical {
	case "":
		r.out = strconv.AppendInt(r.out, v, 10)
		return nil
	case "date":
		t = time.Unix(0, 0).UTC().AddDate(0, 0, int(v))
	case "timestamp-millis":
		t = time.UnixMilli(v).UTC()
	case "timestamp-micros":
		t = time.UnixMicro(v).UTC()
	case "timestamp-nanos":
		t = time.Unix(0, v).UTC()
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return errTime
	}
	r.out = append(t.AppendFormat(append(r.out, '"'), time.RFC3339Nano), '"')
	return nil
}

// appendFloat appends the fewest digits that give the same number again.
func appendFloat(dst []byte, v float64, bits int) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, fmt.Errorf("a number is %v", v)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits), nil
}

func (r *avroReader) bytes(n *node, b []byte) {
	r.out = append(r.out, '"')
	switch n.logical {
	case "decimal":
		r.out = appendUnscaled(r.out, b, n.scale)
	case "uuid":
		if len(b) == 16 {
			for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
				if i > 0 {
					r.out = append(r.out, '-')
				}
				r.out = hex.AppendEncode(r.out, part)
			}
			break
		}
		fallthrough
	default:
		r.out = base64.StdEncoding.AppendEncode(r.out, b)
	}
	r.out = append(r.out, '"')
}

// appendUnscaled appends a decimal: a two's-complement integer, its highest byte
// first, of which scale digits stand after the point (promise 7).
func appendUnscaled(dst, b []byte, scale int) []byte {
	var digits []byte
	if len(b) <= 8 {
		v := int64(0)
		for i, c := range b {
			if i == 0 {
				v = int64(int8(c))
			} else {
				v = v<<8 | int64(c)
			}
		}
		if v < 0 {
			dst = append(dst, '-')
		}
		var buf [20]byte
		digits = strconv.AppendUint(buf[:0], magnitude(v), 10)
	} else {
		v := new(big.Int).SetBytes(b)
		if b[0]&0x80 != 0 {
			v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
			dst = append(dst, '-')
		}
		digits = new(big.Int).Abs(v).Append(nil, 10)
	}
	if scale <= 0 {
		return append(dst, digits...)
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		for dst = append(dst, '0', '.'); missing > 1; missing-- {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	point := len(digits) - scale
	return append(append(append(dst, digits[:point]...), '.'), digits[point:]...)
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}
