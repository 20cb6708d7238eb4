package redpandasource

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says what a connector reads: the topics and where they begin.
type Config struct {
	Topics           string `json:"topics" jsonschema:"description=Topics to read; names separated by commas. Exactly one of topics and topics.regex is set."`
	TopicsRegex      string `json:"topics.regex" jsonschema:"description=Pattern that a topic's whole name must match. Topics that appear later are read too."`
	OffsetsInitial   string `json:"offsets.initial" jsonschema:"description=Where partitions begin that exist when the connector is made: earliest or latest or an RFC 3339 time. Later ones begin at the earliest.,default=earliest"`
	GroupPrefix      string `json:"group.prefix" jsonschema:"description=What comes before the topic in the name of its consumer group. Empty means connect-<connector>-."`
	MetadataMaxAgeMs int    `json:"metadata.max.age.ms" jsonschema:"description=How often topics and their partitions are looked up in ms.,default=5000"`
	FetchBudgetBytes int64  `json:"fetch.budget.bytes" jsonschema:"description=What fetched records may take in memory before they are queued; divided among the partitions.,default=16777216"`
}

// DefaultConfig holds the defaults; the topics have none.
func DefaultConfig() Config {
	return Config{
		OffsetsInitial:   offsetsEarliest,
		MetadataMaxAgeMs: 5000,
		FetchBudgetBytes: 16 << 20,
	}
}

const (
	offsetsEarliest = "earliest"
	offsetsLatest   = "latest"
)

// Validate says what is wrong, each message beginning with the key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	names := c.TopicNames()
	switch {
	case len(names) > 0 && c.TopicsRegex != "":
		bad("topics: set either topics or topics.regex, not both")
	case len(names) == 0 && c.TopicsRegex == "":
		bad("topics: set topics or topics.regex")
	}
	for _, name := range names {
		if !validTopic(name) {
			bad("topics: %q is not a topic's name: 1 to 249 of letters, digits, '.', '_' and '-'", name)
		}
	}
	if c.TopicsRegex != "" {
		if _, err := compileTopics(c.TopicsRegex); err != nil {
			bad("topics.regex: %w", err)
		}
	}
	if _, err := c.initial(); err != nil {
		errs = append(errs, err)
	}
	if c.MetadataMaxAgeMs < 100 || c.MetadataMaxAgeMs > 3_600_000 {
		bad("metadata.max.age.ms: %d is outside 100..3600000", c.MetadataMaxAgeMs)
	}
	if c.FetchBudgetBytes < 1<<20 || c.FetchBudgetBytes > 64<<30 {
		bad("fetch.budget.bytes: %d is outside %d..%d", c.FetchBudgetBytes, 1<<20, int64(64<<30))
	}
	return errors.Join(errs...)
}

// TopicNames gives the names in topics, in order and without repetition.
func (c *Config) TopicNames() []string {
	var names []string
	for name := range strings.SplitSeq(c.Topics, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Matches says whether the configuration, which is valid, names the topic.
func (c *Config) Matches(topic string) bool {
	matches, err := c.matcher()
	return err == nil && matches(topic)
}

// matcher says which topics the configuration names.
func (c *Config) matcher() (func(topic string) bool, error) {
	if c.TopicsRegex == "" {
		names := c.TopicNames()
		return func(topic string) bool { return slices.Contains(names, topic) }, nil
	}
	re, err := compileTopics(c.TopicsRegex)
	if err != nil {
		return nil, fmt.Errorf("topics.regex: %w", err)
	}
	return re.MatchString, nil
}

// compileTopics makes a pattern that must match the whole name, as Kafka
// Connect's does.
func compileTopics(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile("^(?:" + pattern + ")$")
}

// initial is offsets.initial, taken apart: earliest, latest, or a time.
type initial struct {
	latest bool
	at     time.Time // zero if not a time
}

func (c *Config) initial() (initial, error) {
	switch c.OffsetsInitial {
	case "", offsetsEarliest:
		return initial{}, nil
	case offsetsLatest:
		return initial{latest: true}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, c.OffsetsInitial)
	if err != nil {
		return initial{}, fmt.Errorf("offsets.initial: %q is neither earliest nor latest nor a time such as 2026-01-31T00:00:00Z", c.OffsetsInitial)
	}
	return initial{at: at}, nil
}

func (c *Config) metadataMaxAge() time.Duration {
	return time.Duration(c.MetadataMaxAgeMs) * time.Millisecond
}

// group names the consumer group of one topic.
func (c *Config) group(connector, topic string) string {
	if c.GroupPrefix != "" {
		return c.GroupPrefix + topic
	}
	return "connect-" + connector + "-" + topic
}

// validTopic applies the broker's rule for names.
func validTopic(name string) bool {
	if name == "" || len(name) > 249 || name == "." || name == ".." {
		return false
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return false
		}
	}
	return true
}
