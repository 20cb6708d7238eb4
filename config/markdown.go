package config

import "strings"

// Markdown gives a table of the keys for a page of documentation.
func Markdown(keys []Key) string {
	var b strings.Builder
	b.WriteString("| key | type | default | what it decides |\n|---|---|---|---|\n")
	for _, k := range keys {
		b.WriteString("| `" + cell(k.Name) + "` | " + k.Type + " | " + k.defaultCell() + " | " + strings.ReplaceAll(cell(k.meaning()), "<", `\<`) + " |\n")
	}
	return b.String()
}

func (k Key) defaultCell() string {
	switch {
	case k.Required:
		return "required"
	case k.Default == "":
		return ""
	}
	return "`" + cell(k.Default) + "`"
}

// meaning is the documentation with the values that are allowed.
func (k Key) meaning() string {
	text := strings.TrimSpace(k.Documentation)
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	switch {
	case len(k.Valid) > 0:
		text += " One of " + strings.Join(k.Valid, ", ") + "."
	case k.Minimum != "" && k.Maximum != "":
		text += " From " + k.Minimum + " to " + k.Maximum + "."
	case k.Minimum != "":
		text += " At least " + k.Minimum + "."
	case k.Maximum != "":
		text += " At most " + k.Maximum + "."
	}
	return strings.TrimSpace(text)
}

// cell keeps a text within one cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}
