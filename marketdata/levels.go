package marketdata

// levelsKeepMax is how many levels' room is kept for the next record.
const levelsKeepMax = 4096

// bothLevels gives the sides of an order book. They lie in one buffer of the
// Decoder.
func (d *Decoder) bothLevels() (bids, asks []Level) {
	if d.levels = d.levels[:0]; d.levels == nil || cap(d.levels) > levelsKeepMax {
		d.levels = make([]Level, 0, 64)
	}
	bidsEnd, hasBids := d.appendLevels(fieldBids)
	asksEnd, hasAsks := d.appendLevels(fieldAsks)
	if hasBids {
		bids = d.levels[:bidsEnd:bidsEnd]
	}
	if hasAsks {
		asks = d.levels[bidsEnd:asksEnd:asksEnd]
	}
	return bids, asks
}

// appendLevels reads an array of arrays of a price and a size; present is false
// for a null and where there is none.
func (d *Decoder) appendLevels(f field) (end int, present bool) {
	switch t := d.token(f); t.kind {
	case tokenNull:
	case tokenArray:
		present = true
		d.elements(t.start, func(level token) {
			if level.kind != tokenArray {
				d.blame(f, ReasonWrongType, "holds a level that is no array of a price and a size")
				return
			}
			var pair [2]Decimal
			n := 0
			d.elements(level.start, func(number token) {
				if n < len(pair) {
					if s := d.written(f, number); s != "" {
						pair[n] = d.parsed(f, s)
					}
				}
				n++
			})
			if n != len(pair) || !pair[0].Present() || !pair[1].Present() {
				d.blame(f, ReasonWrongType, "holds a level that is no array of a price and a size")
			}
			d.levels = append(d.levels, Level{pair[0], pair[1]})
		})
	default:
		d.blame(f, ReasonWrongType, "is no array")
	}
	return len(d.levels), present
}

// levels checks the sides of a book.
func (c *checker) levels(f field, levels []Level) {
	for i := range levels {
		c.required(f, levels[i].Price)
		c.required(f, levels[i].Size)
		c.price(f, levels[i].Price)
		c.amount(f, levels[i].Size)
	}
}

// flags says whether a snapshot's highest bid is above its lowest ask.
func (v *Book) flags() Flags {
	if !v.Snapshot || len(v.Bids) == 0 || len(v.Asks) == 0 {
		return 0
	}
	bid, ask := v.Bids[0].Price, v.Asks[0].Price
	for i := range v.Bids {
		if v.Bids[i].Price.Cmp(bid) > 0 {
			bid = v.Bids[i].Price
		}
	}
	for i := range v.Asks {
		if v.Asks[i].Price.Cmp(ask) < 0 {
			ask = v.Asks[i].Price
		}
	}
	if bid.Cmp(ask) > 0 {
		return FlagCrossed
	}
	return 0
}
