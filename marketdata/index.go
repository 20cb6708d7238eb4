package marketdata

// Name is the name of a JSON object's member, made once for many records.
type Name struct {
	quoted string // and its colon
	field  field
}

// NewName makes a Name.
func NewName(name string) Name {
	return Name{string(AppendText(nil, name)) + ":", fieldOf([]byte(name))}
}

// Append appends the name as JSON has it, with its colon.
func (n *Name) Append(dst []byte) []byte { return append(dst, n.quoted...) }

// Index says where the members of a JSON object are, told by who wrote it: a Decoder
// that gets it need not look for them. Its zero value says nothing.
type Index struct {
	members []indexed
	begun   bool
}

type indexed struct {
	token
	field field
}

// Reset makes the Index say nothing.
func (x *Index) Reset() { x.members, x.begun = x.members[:0], false }

// Begin begins an object, all of whose members are then added.
func (x *Index) Begin() { x.members, x.begun = x.members[:0], true }

// Add adds a member, whose value is text from at on: JSON, with no blank around it.
// plain says of a string that it holds ASCII alone and no escapes.
func (x *Index) Add(n *Name, text []byte, at int, plain bool) {
	t := token{start: at, end: len(text)}
	switch text[at] {
	case '"':
		t.kind, t.start, t.end = tokenString, at+1, len(text)-1
		if !plain {
			t.marks = escaped | wide
		}
	case '{':
		t.kind = tokenObject
	case '[':
		t.kind = tokenArray
	case 'n':
		t.kind = tokenNull
	case 't', 'f':
		t.kind = tokenBool
	default:
		t.kind = tokenNumber
	}
	x.members = append(x.members, indexed{t, n.field})
}

// take has the record's fields from its index. It returns false where that says
// nothing, or not enough: an analytics record's further fields are metrics by their
// names.
func (d *Decoder) take(x *Index) bool {
	if x == nil || !x.begun || d.known.has(fieldMetrics) {
		return false
	}
	for i := range x.members {
		switch m := &x.members[i]; {
		case d.known.has(m.field):
			d.fields[m.field] = m.token
			d.seen |= 1 << m.field
		default:
			d.unknown++
		}
	}
	return true
}
