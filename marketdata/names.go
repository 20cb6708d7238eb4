package marketdata

// FieldNames gives the names of a kind's fields as they are written, in a fixed
// order.
func FieldNames(k Kind) []string {
	var names []string
	for f := fieldNone + 1; f < fieldCount; f++ {
		if fieldsOf(k).has(f) {
			names = append(names, fieldNames[f])
		}
	}
	return names
}

// FieldName gives the field of a kind that a name means to a Decoder, whatever
// its ASCII case and underscores, as FieldNames writes it; false where it is none.
func FieldName(k Kind, name string) (string, bool) {
	f := fieldOf([]byte(name))
	if f == fieldNone || !fieldsOf(k).has(f) {
		return "", false
	}
	return fieldNames[f], true
}

// IsDecimal says whether a field of a kind, as FieldNames writes it, is a decimal.
func IsDecimal(k Kind, name string) bool {
	f := fieldOf([]byte(name))
	return fieldsOf(k).has(f) && decimalFields.has(f)
}

func fieldsOf(k Kind) fieldSet {
	switch k {
	case KindPrice:
		return priceFields
	case KindOHLCV:
		return ohlcvFields
	case KindLevel1:
		return level1Fields
	case KindTrade:
		return tradeFields
	case KindAnalytics:
		return analyticsFields
	case KindFunding:
		return fundingFields
	case KindOpenInterest:
		return openInterestFields
	case KindLiquidation:
		return liquidationFields
	case KindBook:
		return bookFields
	}
	return 0
}
