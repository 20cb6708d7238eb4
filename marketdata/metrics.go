package marketdata

// metrics gives the record's further numbers as a JSON object: those of the
// object t, a null for none, and after them its numeric fields.
func (d *Decoder) metrics(t token) string {
	if t.kind != tokenNull && t.kind != tokenObject {
		d.blame(fieldMetrics, ReasonWrongType, "is not an object")
		return ""
	}
	if t.kind == tokenNull && len(d.extras) == 0 {
		return ""
	}
	d.metric = append(d.metric[:0], '{')
	if cap(d.metric) > scratchBytesMax {
		d.metric = []byte{'{'}
	}
	if t.kind == tokenObject {
		d.object(t.start, 0, d.appendMetric)
	}
	for _, e := range d.extras {
		d.appendMetric(e.key, e.val)
	}
	if len(d.metric) == 1 {
		return ""
	}
	d.metric[len(d.metric)-1] = '}'
	return alias(d.metric)
}

// appendMetric appends a member with the number's exact digits and a comma. What
// is no number is counted as unknown, and so is a string that could only be a
// number beyond what is stored: "12e98765" is more likely an identifier.
func (d *Decoder) appendMetric(key, val token) {
	if val.kind != tokenNumber && val.kind != tokenString {
		if val.kind != tokenNull {
			d.unknown++
		}
		return
	}
	s := alias(d.bytes(val))
	if val.marks&escaped != 0 {
		n := len(d.scratch)
		d.scratch, _ = unescape(d.scratch, d.bytes(val))
		s = alias(d.scratch[n:])
	}
	if s == "" {
		return
	}
	n, err := ParseDecimal(s)
	switch {
	case val.kind == tokenNumber && err != nil: // JSON's numbers fail for their size alone
		d.blame(fieldMetrics, ReasonOutOfRange, err.Error())
		return
	case err != nil:
		d.unknown++
		return
	}
	name := d.stringOf(fieldMetrics, key)
	d.metric = appendString(d.metric, name)
	d.metric = append(d.metric, ':')
	d.metric = n.appendNumber(d.metric)
	d.metric = append(d.metric, ',')
}

// checkMetrics reads a producer's Metrics as a record's would be read; nothing
// in it may be left out.
func checkMetrics(metrics string) *Error {
	d := Decoder{scanner: scanner{data: []byte(metrics)}}
	t, next := d.value(d.space(0), 1)
	switch {
	case next < 0:
	case t.kind != tokenObject || d.space(next) != len(metrics):
		d.blame(fieldMetrics, ReasonWrongType, "is not one JSON object")
	default:
		d.metrics(t)
		if d.unknown > 0 {
			d.blame(fieldMetrics, ReasonWrongType, "holds members that are no numbers")
		}
	}
	if d.fault != nil {
		d.fault.Field = fieldNames[fieldMetrics]
	}
	return d.fault
}
