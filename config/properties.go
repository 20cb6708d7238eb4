package config

import (
	"strconv"
	"strings"
)

// parseProperties reads a Java properties file, in UTF-8: java.util.Properties
// gives the grammar. The last of equal keys counts.
func parseProperties(text string) map[string]string {
	props := map[string]string{}
	for _, line := range logicalLines(text) {
		key, value := splitProperty(line)
		props[unescapeProperty(key)] = unescapeProperty(value)
	}
	return props
}

// logicalLines joins lines that end in an odd number of backslashes with the
// next, and leaves out blank lines and comments.
func logicalLines(text string) []string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var lines []string
	var joined strings.Builder
	open := false
	for natural := range strings.SplitSeq(text, "\n") {
		natural = strings.TrimLeft(natural, " \t\f")
		if !open && (natural == "" || natural[0] == '#' || natural[0] == '!') {
			continue
		}
		backslashes := len(natural) - len(strings.TrimRight(natural, `\`))
		open = backslashes%2 == 1
		if open {
			joined.WriteString(natural[:len(natural)-1])
			continue
		}
		joined.WriteString(natural)
		lines = append(lines, joined.String())
		joined.Reset()
	}
	if joined.Len() > 0 {
		lines = append(lines, joined.String())
	}
	return lines
}

// splitProperty divides a line at its first separator that is not escaped: '=',
// ':' or white space, with the white space around it.
func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return line[:end], rest
}

func unescapeProperty(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if code, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16); err == nil && i+5 <= len(s) {
				b.WriteRune(rune(code))
				i += 4
				continue
			}
			b.WriteByte('u')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
