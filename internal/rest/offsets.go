package rest

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/qicore/tickconnect/internal/herder"
)

// offsetEntry is a partition and its offset, as KIP-875 has those of sinks.
type offsetEntry struct {
	Partition map[string]any `json:"partition"`
	Offset    map[string]any `json:"offset"`
}

type offsetsBody struct {
	Offsets []offsetEntry `json:"offsets"`
}

func (a api) offsets(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	if _, err := a.Config(name); err != nil {
		return reply{}, missing(err, connectorNotFound, name)
	}
	all, err := a.Offsets(r.Context(), name)
	if err != nil {
		return reply{}, err
	}
	body := offsetsBody{Offsets: []offsetEntry{}}
	for _, o := range all {
		if o.Next != nil {
			body.Offsets = append(body.Offsets, offsetEntry{
				map[string]any{"kafka_topic": o.Topic, "kafka_partition": o.Partition}, map[string]any{"kafka_offset": *o.Next},
			})
		}
	}
	return ok(body)
}

func (a api) alterOffsets(r *http.Request) (reply, error) {
	var body offsetsBody
	if err := read(r, &body); err != nil {
		return reply{}, err
	}
	if len(body.Offsets) == 0 {
		return reply{}, refuse(http.StatusBadRequest, "Partitions / offsets need to be provided for an alter offsets request")
	}
	var to []Offset
	for _, e := range body.Offsets {
		o, err := e.parse()
		if err != nil {
			return reply{}, err
		}
		to = append(to, o)
	}
	return a.change(r, to, "altered")
}

func (a api) resetOffsets(r *http.Request) (reply, error) { return a.change(r, nil, "reset") }

// change closes the connector's live generation and opens the next (promise 4). As in
// Kafka Connect the connector must be stopped.
func (a api) change(r *http.Request, to []Offset, done string) (reply, error) {
	name := r.PathValue("name")
	dryRun, err := flag(r, "dryRun")
	if err != nil {
		return reply{}, err
	}
	target, err := a.TargetOf(name)
	if err != nil {
		return reply{}, missing(err, connectorNotFound, name)
	}
	if !dryRun {
		s, err := a.Status(name)
		if err != nil {
			return reply{}, err
		}
		if target != herder.Stopped || len(s.Tasks) > 0 || s.Connector.State != herder.StateStopped {
			return reply{}, refuse(http.StatusBadRequest, "Connectors must be in the STOPPED state before their offsets can be modified externally. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/%s/stop' endpoint", name)
		}
	}
	plan, err := a.AlterOffsets(r.Context(), name, to, dryRun)
	if err != nil {
		return reply{}, err
	}
	message := "The offsets for this connector have been " + done + " successfully"
	if dryRun {
		message = "Nothing was changed: this is a dry run"
	}
	return ok(map[string]any{"message": message, "plan": plan})
}

// parse reads an entry. Both keys of the partition are needed; an offset that is null
// takes the partition back to where it began.
func (e *offsetEntry) parse() (o Offset, err error) {
	bad := func(what string) (Offset, error) {
		return Offset{}, refuse(http.StatusBadRequest, "%s: an entry is {\"partition\":{\"kafka_topic\":\"t\",\"kafka_partition\":0},\"offset\":{\"kafka_offset\":42}}", what)
	}
	topic, isText := e.Partition["kafka_topic"].(string)
	if !isText || topic == "" {
		return bad("kafka_topic is missing")
	}
	partition, isNumber := integer(e.Partition["kafka_partition"])
	if !isNumber || partition < 0 || partition > 1<<31-1 {
		return bad("kafka_partition is no partition")
	}
	for key := range e.Partition {
		if key != "kafka_topic" && key != "kafka_partition" {
			return bad(key + " is not known")
		}
	}
	o = Offset{Topic: topic, Partition: int32(partition)}
	if e.Offset == nil {
		return o, nil
	}
	next, isNumber := integer(e.Offset["kafka_offset"])
	if !isNumber || next < 0 {
		return bad("kafka_offset is no offset")
	}
	o.Next = &next
	return o, nil
}

// integer reads a number, or a text that holds one, as Kafka Connect does.
func integer(v any) (int64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
