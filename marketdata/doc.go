// Package marketdata holds the kinds of market data: their types, exact
// decimals, JSON codec, checks, topic names and record keys. It imports the
// standard library alone.
//
// What every decoded value holds:
//
//   - Decimals keep the digits that the sender wrote (promise 7): a JSON number
//     or a string, never a float64.
//   - Field names match without regard to ASCII case and underscores. Where a
//     name occurs more than once the last one wins, also over an earlier one
//     that could not be read.
//   - Times are UTC in whole microseconds; finer digits are cut, never rounded.
//   - The exchange is in lower case, every other text is as sent.
//   - null and an absent field are the same; so is "" for a decimal, an integer
//     or a time, since venues send it where they have no value.
//
// A record that breaks a rule gives an *[Error]. What is odd and yet possible is
// marked in Flags and kept.
package marketdata
