package marketdata

// Numbers counts decimals that were JSON numbers, which many producers have as
// binary floats.
type Numbers struct {
	All  int
	Long int // those of them that [IsLong] finds
}

// floatDigits is how many significant digits a binary float keeps of any number.
const floatDigits = 15

// IsLong says whether a number has more significant digits than a binary float keeps
// of any number: what it had beyond them may have been lost before it was sent.
func IsLong(number string) bool {
	return len(number) > floatDigits && significant(number) > floatDigits
}

// significant counts a number's digits from the first one that is not 0, without
// those of its exponent.
func significant(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 'e' || c == 'E':
			return n
		case c-'0' <= 9 && (n > 0 || c != '0'):
			n++
		}
	}
	return n
}
