package main

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// findingLevel says whether a finding asks for something.
type findingLevel string

const (
	levelDo   findingLevel = "do"   // something needs doing
	levelNote findingLevel = "note" // good to know
)

// topicFinding is one thing that topics plan has to say of a topic. Code is a
// short constant for programs.
type topicFinding struct {
	Code  string       `json:"finding"`
	Level findingLevel `json:"level"`
	What  string       `json:"what"`
	Do    []string     `json:"do"`
}

// findings collects those of one topic.
type findings struct {
	topic, servers string
	list           []topicFinding
}

func (f *findings) add(level findingLevel, code, what string, do ...string) {
	f.list = append(f.list, topicFinding{Code: code, Level: level, What: what, Do: append([]string{}, do...)})
}

// take gives what needs doing first.
func (f *findings) take() []topicFinding {
	out := []topicFinding{}
	for _, level := range []findingLevel{levelDo, levelNote} {
		for _, one := range f.list {
			if one.Level == level {
				out = append(out, one)
			}
		}
	}
	return out
}

func (f *findings) missing() {
	f.add(levelDo, "missing", "the topic is not there", "connector topics create "+f.topic)
}

// unreadable is to do: what cannot be seen is not known to be good.
func (f *findings) unreadable(err error) { f.add(levelDo, "unreadable", err.Error()) }

// settings are what the topic's settings give.
func (f *findings) settings(differences []settingDifference, t publish.Topic) {
	for _, d := range differences {
		f.add(levelDo, d.Setting, d.String(), f.change(d, t)...)
	}
	if t.Configs == nil {
		f.add(levelDo, "unreadable", "the topic's settings cannot be read", "allow DESCRIBE_CONFIGS on topic "+t.Name)
		return
	}
	if t.Configs["unclean.leader.election.enable"] == "true" {
		f.add(levelDo, "unclean.leader.election.enable", "unclean.leader.election.enable is true: a log may lose records that are stored already",
			f.alter("unclean.leader.election.enable", "false")...)
	}
	if bytes := t.Configs["retention.bytes"]; bytes != "" && bytes != "-1" {
		f.add(levelNote, "retention.bytes", "retention.bytes is "+bytes+" for each partition: records may be deleted sooner than retention.ms says")
	}
	for _, p := range t.Layout {
		if problem := problemOf(p); problem != "" {
			f.add(levelDo, "partition", fmt.Sprintf("partition %d: %s", p.ID, problem), "look at the brokers: rpk cluster health, or kafka-topics.sh --describe")
		}
	}
}

// change gives the commands that mend a difference.
func (f *findings) change(d settingDifference, t publish.Topic) []string {
	switch d.Setting {
	case "partitions":
		var want int32
		// It was written by Differences.
		_, _ = fmt.Sscan(d.Want, &want)
		return []string{
			"once its producers are stopped and its records stored, as keys move to other partitions:",
			fmt.Sprintf("rpk topic add-partitions %s --num %d", f.topic, want-t.Partitions),
			fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --alter --topic %s --partitions %d", f.server(), f.topic, want),
		}
	case "replicas":
		return []string{
			fmt.Sprintf("rpk topic alter-config %s --set replication.factor=%s", f.topic, d.Want),
			fmt.Sprintf("kafka-reassign-partitions.sh --bootstrap-server %s --execute --reassignment-json-file FILE", f.server()),
		}
	}
	return f.alter(d.Setting, d.Want)
}

func (f *findings) alter(setting, value string) []string {
	return []string{
		fmt.Sprintf("rpk topic alter-config %s --set %s=%s", f.topic, setting, value),
		fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s", f.server(), f.topic, setting, value),
	}
}

// server is the first of the brokers to begin with.
func (f *findings) server() string {
	first, _, _ := strings.Cut(f.servers, ",")
	if first = strings.TrimSpace(first); first == "" {
		return net.JoinHostPort("localhost", "9092")
	}
	return first
}

// sample is what the records show.
func (f *findings) sample(s *topicSample, r *sampleReport, t publish.Topic) {
	if s.ended != nil {
		f.add(levelDo, "unreadable", "not all of the sample could be read: "+s.ended.Error())
	}
	f.compression(s, t)
	f.keys(s)
	f.spread(s, r)
	f.values(s)
}

func (f *findings) compression(s *topicSample, t publish.Topic) {
	if s.plain*10 <= s.batched {
		return
	}
	what := fmt.Sprintf("%s of the bytes lie in batches without compression", percent(float64(s.plain)/float64(s.batched)))
	do := append([]string{"set compression.type=lz4 in the producers; or have the brokers do it:"}, f.alter("compression.type", "lz4")...)
	switch setting := t.Configs["compression.type"]; setting {
	case "uncompressed": // its own finding says so
	case "producer", "":
		f.add(levelDo, "not_compressed", what, do...)
	default:
		f.add(levelNote, "not_compressed", what+": they are older than the topic's compression.type="+setting)
	}
}

// keys is what the records' keys and partitions show.
func (f *findings) keys(s *topicSample) {
	key := "symbol"
	if s.exchange == "" {
		key = "exchange|symbol"
	}
	if s.keyless > 0 {
		f.add(levelDo, "no_key", fmt.Sprintf("%s of %s without a key: the records of a symbol lie in several partitions, in no order",
			grouped(int64(s.keyless)), counted(s.records, "record")), "have the producer set the key: "+key)
	}
	if s.byExchange > 0 {
		f.add(levelDo, "exchange_key", fmt.Sprintf("%s of %s keyed by the exchange alone: all of an exchange lies in one partition, and one task stores it",
			grouped(int64(s.byExchange)), counted(s.records, "record")), "have the producer set the key: "+key, f.rekey(s))
	}
	if several := s.ofKey.several(); len(several) > 0 {
		f.add(levelDo, "coarse_key", fmt.Sprintf("%s shared by several symbols, such as %s: they lie in one partition", countVerb(len(several), "key", "is", "are"), quoted(several[0])),
			"have the producer set the key: "+key, f.rekey(s))
	}
	if several := s.keysOf.several(); len(several) > 0 {
		f.add(levelDo, "many_keys", fmt.Sprintf("%s several keys, such as %s: the order of its records is lost", countVerb(len(several), "symbol", "has", "have"), quoted(several[0])),
			"have all producers set the key: "+key)
	}
	if s.misplaced > 0 {
		f.partitioner(s)
	}
}

// rekey is what can be done where the producer cannot be changed, or about what it
// has written.
func (f *findings) rekey(s *topicSample) string {
	layout := ""
	if s.exchange == "" {
		layout = " --layout " + marketdata.TopicPerKind.String()
	}
	return fmt.Sprintf("or copy it, and what is there already: connector topics rekey --brokers %s%s %s %s-keyed", f.servers, layout, f.topic, f.topic)
}

func (f *findings) partitioner(s *topicSample) {
	keyed := s.records - s.keyless
	what := fmt.Sprintf("%s of %s with a key lie in another partition than murmur2 of the key gives", grouped(int64(s.misplaced)), counted(keyed, "record"))
	if n := s.scattered(); n > 0 {
		what += fmt.Sprintf("; the records of %s lie in several partitions, in no order", counted(n, "key"))
	}
	i := slices.IndexFunc(s.rules, func(r rule) bool { return r.fewer == 0 })
	switch {
	case i >= 0:
		f.add(levelDo, "other_partitioner", what+"; this is how "+s.rules[i].name+" chooses it", "set in that producer: "+s.rules[i].fix)
	case len(s.rules) > 0 && s.rules[0].fewer > 1:
		f.add(levelNote, "partitions_added", fmt.Sprintf("%s: they were written when the topic had %d partitions", what, s.rules[0].fewer))
	default:
		f.add(levelDo, "other_partitioner", what, "have all producers partition by murmur2, as the Java client and franz-go do: librdkafka partitioner=murmur2_random; "+
			"kafka-go Murmur2Balancer; sarama a partitioner of your own")
	}
}

// skewMin is how many records a topic must hold before its spread means anything.
const skewMin = 100

// spread is a note: where the keys are as they should be, nothing but fewer or
// more symbols would change it.
func (f *findings) spread(s *topicSample, r *sampleReport) {
	even := 1 / float64(max(s.partitions, 1))
	if s.records < skewMin || s.partitions < 2 || r.BusiestPartitionShare < 2*even {
		return
	}
	what := fmt.Sprintf("partition %d holds %s of the records, an even share is %s; %d of %d partitions are empty; %s of the sample has the key %s",
		r.BusiestPartition, percent(r.BusiestPartitionShare), percent(even), r.EmptyPartitions, s.partitions, percent(r.BusiestKeyShare), quoted(r.BusiestKey))
	switch {
	case f.has("no_key", "exchange_key", "coarse_key", "other_partitioner"):
		what += "; see what is said of the keys"
	case r.BusiestKeyShare*2 >= r.BusiestPartitionShare:
		what += "; the order of a symbol needs one partition, so more partitions do not divide it"
	case r.Keys < 4*int(s.partitions):
		what += "; so few keys cannot fill the partitions evenly"
	}
	f.add(levelNote, "skew", what)
}

func (f *findings) has(codes ...string) bool {
	return slices.ContainsFunc(f.list, func(one topicFinding) bool { return slices.Contains(codes, one.Code) })
}

// values is what the records themselves show.
func (f *findings) values(s *topicSample) {
	for _, reason := range s.bad.names() {
		one := s.bad[reason]
		f.add(levelDo, "undecodable", fmt.Sprintf("%s of %s cannot be stored and becomes a dead letter: %s, such as %s",
			grouped(int64(one.n)), counted(s.records, "record"), reason, one.example), "mend the producer; docs/operations.md explains the reasons of dead letters")
	}
	for _, name := range s.floats.names() {
		one := s.floats[name]
		what := fmt.Sprintf("%s: %s of more than 15 digits, such as %s: above 15 digits they may already be rounded", name, counted(one.n, "number"), one.example)
		if roundedDigits(one.example) {
			what += ", and these digits are those of a 64-bit float"
		}
		f.add(levelDo, "float", what, "have the producer send decimals as text, from the digits that the exchange sent")
	}
	if names := s.exponent.names(); len(names) > 0 {
		f.add(levelNote, "exponent", fmt.Sprintf("%s with an exponent, such as %s %s: the producer may hold them as floats",
			counted(s.exponent.total(), "number"), names[0], s.exponent[names[0]].example))
	}
	if names := s.foreign.names(); len(names) > 0 {
		f.add(levelDo, "other_exchange", fmt.Sprintf("%s of another exchange than the topic's: %s; stored under the record's own", counted(s.foreign.total(), "record"), strings.Join(names, ", ")),
			"have the producer write to "+marketdata.TopicName(s.kind, names[0]))
	}
	if names := s.unknown.names(); len(names) > 0 {
		var fields []string
		for _, name := range names[:min(len(names), 10)] {
			fields = append(fields, fmt.Sprintf("%s (%s)", quoted(name), grouped(int64(s.unknown[name].n))))
		}
		f.add(levelNote, "unknown_fields", counted(len(names), "field")+" ignored: "+strings.Join(fields, ", "))
	}
}
