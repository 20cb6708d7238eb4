package rest

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/internal/herder"
)

// Plugin is a kind of connector.
type Plugin struct {
	Class   string
	Version string
	Keys    []config.Key // in the order of the documentation
}

// Checked is what a check of a configuration found, by key. Keys that are wrong need
// not be any of the plugin's.
type Checked struct{ Errors map[string][]string }

func (c *Checked) add(key, message string) {
	if c.Errors == nil {
		c.Errors = map[string][]string{}
	}
	c.Errors[key] = append(c.Errors[key], message)
}

func (c *Checked) count() int {
	n := 0
	for _, texts := range c.Errors {
		n += len(texts)
	}
	return n
}

// NewChecked sorts messages by the keys that they begin with. One that begins with
// none is of connector.class.
func NewChecked(messages []string) Checked {
	var c Checked
	for _, m := range messages {
		key, _, ok := strings.Cut(m, ": ")
		if !ok || strings.ContainsAny(key, " \t") {
			key = "connector.class"
		}
		c.add(key, m)
	}
	return c
}

// definition is Kafka Connect's ConfigKeyInfo.
type definition struct {
	Name          string   `json:"name"`
	Type          string   `json:"type"`
	Required      bool     `json:"required"`
	DefaultValue  *string  `json:"default_value"`
	Importance    string   `json:"importance"`
	Documentation string   `json:"documentation"`
	Group         *string  `json:"group"`
	Order         int      `json:"order"`
	OrderInGroup  int      `json:"order_in_group"` // as Kafka Connect calls it from 4.2 on
	Width         string   `json:"width"`
	DisplayName   string   `json:"display_name"`
	Dependents    []string `json:"dependents"`
}

type configValue struct {
	Name              string   `json:"name"`
	Value             *string  `json:"value"`
	RecommendedValues []string `json:"recommended_values"`
	Errors            []string `json:"errors"`
	Visible           bool     `json:"visible"`
}

type configInfo struct {
	Definition definition  `json:"definition"`
	Value      configValue `json:"value"`
}

// configInfos is Kafka Connect's answer to a validation.
type configInfos struct {
	Name       string       `json:"name"`
	ErrorCount int          `json:"error_count"`
	Groups     []string     `json:"groups"`
	Configs    []configInfo `json:"configs"`
}

// javaTypes are Kafka Connect's names of types.
var javaTypes = map[string]string{
	"string": "STRING", "password": "PASSWORD", "boolean": "BOOLEAN", "int": "INT", "number": "DOUBLE", "bytes": "LONG",
	"time": "STRING", "regex": "STRING", "list": "LIST", "map": "STRING",
}

const groupCommon = "Common"

func define(key config.Key, order int) definition {
	d := definition{
		Name: key.Name, Type: javaTypes[key.Type], Required: key.Required, Importance: strings.ToUpper(key.Importance),
		Documentation: key.Documentation, Order: order, OrderInGroup: order, Width: "MEDIUM", DisplayName: key.Name, Dependents: []string{},
	}
	group := groupCommon
	if prefix, _, dotted := strings.Cut(key.Name, "."); dotted {
		switch prefix {
		case "errors":
			group = "Error Handling"
		case "connection":
			group = "Database"
		case "value":
			group = "Converters"
		}
	}
	d.Group = &group
	if d.Type == "" { // a duration
		d.Type = "STRING"
		if strings.HasSuffix(key.Name, ".ms") {
			d.Type = "LONG"
		}
	}
	if !key.Required {
		value := key.Default
		d.DefaultValue = &value
	}
	return d
}

func (a api) plugins(*http.Request) (reply, error) {
	all := []map[string]string{}
	for _, p := range a.Plugins() {
		all = append(all, map[string]string{"class": p.Class, "type": typeSink, "version": p.Version})
	}
	return ok(all)
}

func (a api) pluginConfig(r *http.Request) (reply, error) {
	p, known := a.Plugin(r.PathValue("plugin"))
	if !known {
		return reply{}, refuse(http.StatusNotFound, "Unknown plugin %s.", r.PathValue("plugin"))
	}
	all := []definition{}
	for i, key := range p.Keys {
		all = append(all, define(key, i+1))
	}
	return ok(all)
}

// hidden is what is shown of a password.
const hidden = "[hidden]"

func (a api) validate(r *http.Request) (reply, error) {
	var sent map[string]any
	if err := read(r, &sent); err != nil {
		return reply{}, err
	}
	given, nulls, err := texts(sent)
	if err != nil {
		return reply{}, err
	}
	class := given["connector.class"]
	if class == "" {
		return reply{}, refuse(http.StatusBadRequest, "Connector config {%s} contains no connector type", strings.Join(slices.Sorted(maps.Keys(given)), ", "))
	}
	p, known := a.Plugin(class)
	if !known {
		return reply{}, a.noClass(class)
	}
	if asked, ok := a.Plugin(r.PathValue("plugin")); !ok || asked.Class != p.Class {
		return reply{}, refuse(http.StatusBadRequest, "Included connector type %s does not match request type %s", class, r.PathValue("plugin"))
	}
	c := a.Validate(given)
	if strings.TrimSpace(given["name"]) == "" {
		c.add("name", `Missing required configuration "name" which has no default value.`)
	}
	if a.InFile(given["name"]) {
		c.add("name", "name: "+given["name"]+" "+herder.ErrFile.Error())
	}
	for _, key := range nulls {
		c.add(key, "Invalid value null for configuration "+key+": must not be null")
	}
	return ok(infos(class, p, given, c))
}

func infos(class string, p Plugin, given map[string]string, c Checked) configInfos {
	result := configInfos{Name: class, ErrorCount: c.count(), Groups: []string{}, Configs: []configInfo{}}
	seen := map[string]bool{}
	add := func(key config.Key) {
		d := define(key, len(result.Configs)+1)
		seen[key.Name] = true
		if !slices.Contains(result.Groups, *d.Group) {
			result.Groups = append(result.Groups, *d.Group)
		}
		v := configValue{
			Name: key.Name, Value: d.DefaultValue, RecommendedValues: append([]string{}, key.Valid...),
			Errors: append([]string{}, c.Errors[key.Name]...), Visible: true,
		}
		if text, has := given[key.Name]; has {
			v.Value = &text
			if key.Type == "password" && text != "" {
				masked := hidden
				v.Value = &masked
			}
		}
		result.Configs = append(result.Configs, configInfo{d, v})
	}
	for _, key := range p.Keys {
		add(key)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Errors)) {
		if !seen[name] { // no key of the plugin; clients want a definition all the same
			add(config.Key{Name: name, Type: "string", Importance: "low"})
		}
	}
	return result
}
