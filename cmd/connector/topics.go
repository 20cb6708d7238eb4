package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/config"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

func newTopicsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "See, judge and make the topics of market data",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newTopicsListCommand(), newTopicsDescribeCommand(), newTopicsCreateCommand(), newTopicsPlanCommand(),
		newTopicsHonestyCommand(), newTopicsRekeyCommand())
	return cmd
}

// topicsFlags are those that all the commands on topics have.
type topicsFlags struct {
	config  string
	brokers []string
	timeout time.Duration
	form    output
}

func (f *topicsFlags) add(cmd *cobra.Command, timeout time.Duration) {
	addConfigFlag(cmd, &f.config)
	addOutputFlag(cmd, &f.form)
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "brokers to ask, host:port,...; default: those of the configuration file, where there is none localhost:9092")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "longest wait for the brokers")
}

// cluster is what a command on topics talks to.
type cluster struct {
	servers string // the brokers to begin with, for people
	client  *kgo.Client
	admin   *kadm.Client
	topics  *publish.Admin
	// brokers is how many there are.
	brokers int
	// connectors are those of the configuration file, where one was read.
	connectors []*connectorConfig
}

// with opens the connections and calls f. Its error is without secrets.
func (f *topicsFlags) with(cmd *cobra.Command, do func(context.Context, *cluster) error) error {
	client, redactor, c, err := f.clientConfig(cmd)
	if err != nil {
		return err
	}
	if f.timeout <= 0 {
		return fmt.Errorf("--timeout: %s is not above 0", f.timeout)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	if err := f.open(ctx, &client, c, do); err != nil {
		return errors.New(redactor.Redact(err.Error()))
	}
	return nil
}

// clientConfig is the file's, or that of --brokers, which needs no file.
func (f *topicsFlags) clientConfig(cmd *cobra.Command) (redpandasource.ClientConfig, *config.Redactor, *cluster, error) {
	client, c := redpandasource.DefaultClientConfig(), &cluster{}
	named := cmd.Flags().Changed("config")
	if len(f.brokers) > 0 {
		if named {
			return client, nil, nil, errors.New("--brokers: --config names brokers, too; give one of them")
		}
		client.BootstrapServers = strings.Join(f.brokers, ",")
		if err := client.Validate(); err != nil {
			return client, nil, nil, fmt.Errorf("--brokers: %s", strings.TrimPrefix(err.Error(), "bootstrap.servers: "))
		}
		return client, config.NewRedactor(), c, nil
	}
	if _, err := os.Stat(f.config); errors.Is(err, os.ErrNotExist) && !named {
		return client, config.NewRedactor(), c, nil
	}
	l, err := load(f.config)
	if err != nil {
		return client, nil, nil, err
	}
	if l.err != nil { // what is wrong with a connector matters not here
		return client, nil, nil, fmt.Errorf("%s cannot be used:\n%s", f.config, l.redactor.Redact(l.err.Error()))
	}
	c.connectors = l.connectors
	return l.client, l.redactor, c, nil
}

func (f *topicsFlags) open(ctx context.Context, client *redpandasource.ClientConfig, c *cluster, do func(context.Context, *cluster) error) error {
	opts, err := client.KafkaOptions()
	if err != nil {
		return err
	}
	c.servers = client.BootstrapServers
	if c.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("making the Kafka client: %w", err)
	}
	defer c.client.Close()
	c.admin, c.topics = kadm.NewClient(c.client), publish.NewAdmin(c.client)
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return c.explain(err, f.timeout)
	}
	c.brokers = len(brokers)
	err = do(ctx, c)
	if err != nil && ctx.Err() != nil {
		return c.explain(err, f.timeout)
	}
	return err
}

// explain says what to look at where the brokers do not answer.
func (c *cluster) explain(err error, waited time.Duration) error {
	var answered *kerr.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the brokers at %s did not answer within %s (--timeout): are they there, and do they want TLS?", c.servers, waited)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("the brokers at %s do not take sasl.username and sasl.password: %w", c.servers, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the brokers at %s closed the connection: they may want TLS, or not take this user and password; "+
			"name a file with their settings (-c): %w", c.servers, err)
	case errors.As(err, &answered), errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("asking the brokers at %s (--brokers, or bootstrap.servers of -c): %w", c.servers, err)
}

// describe describes topics, each once. One that cannot be described keeps its
// Err; where it is not there, that names the nearest one.
func (c *cluster) describe(ctx context.Context, names []string) ([]publish.Topic, error) {
	topics, err := c.topics.Describe(ctx, unique(names)...)
	if err != nil {
		return nil, err
	}
	for i, t := range topics {
		if topics[i].Err = topicError(t.Name, t.Err, "DESCRIBE"); !errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		topics[i].Err = fmt.Errorf("there is no topic %s: %w", t.Name, t.Err)
		all, err := c.topics.ListAll(ctx)
		if err != nil {
			continue // the first error says enough
		}
		if near := nearestTopic(t.Name, all); near != "" {
			topics[i].Err = fmt.Errorf("there is no topic %s; did you mean %s? %w", t.Name, near, t.Err)
		}
	}
	return topics, nil
}

// topicError names the right that is lacking.
func topicError(topic string, err error, rights string) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("not authorized: allow %s on topic %s: %w", rights, topic, err)
	case err != nil:
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	return nil
}

func nearestTopic(name string, topics []publish.Topic) (nearest string) {
	best := len(name)/3 + 1
	for _, t := range topics {
		if d := levenshtein.ComputeDistance(name, t.Name); d < best {
			nearest, best = t.Name, d
		}
	}
	return nearest
}

// suggestTopic gives the name of a topic of market data that a name may mean; ""
// where it cannot be guessed.
func suggestTopic(name string) (suggested string) {
	name = strings.ToLower(name)
	if k, exchange, ok := marketdata.KindOfTopic(name); ok {
		return marketdata.TopicName(k, exchange)
	}
	best := len(name)
	try := func(kind, exchange string) {
		for _, k := range marketdata.Kinds() {
			base := marketdata.TopicName(k, "")
			for _, form := range []string{base, strings.TrimPrefix(base, "crypto-"), k.String()} {
				if d := levenshtein.ComputeDistance(kind, form); d < best && d <= len(form)/4 {
					suggested, best = marketdata.TopicName(k, exchange), d
				}
			}
		}
	}
	try(name, "")
	for i, c := range name {
		if !strings.ContainsRune("-_.", c) || i == 0 || i == len(name)-1 {
			continue
		}
		try(name[:i], name[i+1:])
		if name[:i] != "crypto" { // it is no exchange
			try(name[i+1:], name[:i])
		}
	}
	return suggested
}

// differences are those of publish, and fewer replicas than the cluster allows.
func (c *cluster) differences(want publish.TopicSettings, t publish.Topic) []settingDifference {
	out := []settingDifference{}
	for _, d := range want.Differences(t) {
		out = append(out, settingDifference(d))
	}
	if most := int16(min(int(want.Replication), c.brokers)); t.Replication < most {
		out = append(out, settingDifference{
			Setting: "replicas", Is: strconv.Itoa(int(t.Replication)), Want: strconv.Itoa(int(most)),
			Why: "records are lost with the disks that hold them",
		})
	}
	return out
}

// settingDifference is a publish.Difference as JSON.
type settingDifference struct {
	Setting string `json:"setting"`
	Is      string `json:"is"`
	Want    string `json:"want"`
	Why     string `json:"why"`
}

func (d settingDifference) String() string {
	return fmt.Sprintf("%s is %s, want %s: %s", d.Setting, d.Is, d.Want, d.Why)
}

// topicKind names what a topic's name tells; both are "" where it tells nothing.
func topicKind(topic string) (kind, exchange string) {
	k, exchange, ok := marketdata.KindOfTopic(topic)
	if !ok {
		return "", ""
	}
	return k.String(), exchange
}

// retentionText shows a retention.ms for people.
func retentionText(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	switch d := time.Duration(n) * time.Millisecond; {
	case err != nil:
		return textOrDash(ms)
	case n < 0:
		return "for ever"
	case d%(24*time.Hour) == 0 && d > 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	default:
		return d.String()
	}
}

func textOrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// unique keeps the first of equal names.
func unique(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// topicNames are the topics that flags name by kind and exchange.
type topicNames struct {
	kinds, exchanges []string
	layout           string
}

func (n *topicNames) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&n.kinds, "kind", nil, "kinds of topics: "+marketdata.KindNames()+"; all of them where only --exchange is given")
	cmd.Flags().StringSliceVar(&n.exchanges, "exchange", nil, "exchanges of topics: binance,kraken,...")
	cmd.Flags().StringVar(&n.layout, "layout", marketdata.TopicPerExchange.String(), "topics of --kind and --exchange: topic-per-exchange or topic-per-kind")
}

// names gives the topics' names, none where no flag names any.
func (n *topicNames) names() ([]string, error) {
	layout, err := marketdata.ParseLayout(n.layout)
	if err != nil {
		return nil, fmt.Errorf("--layout: %w", err)
	}
	if len(n.kinds) == 0 && len(n.exchanges) == 0 {
		return nil, nil
	}
	kinds := marketdata.Kinds()
	if len(n.kinds) > 0 {
		kinds = nil
	}
	for _, text := range n.kinds {
		k, err := marketdata.ParseKind(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--kind: %w", err)
		}
		kinds = append(kinds, k)
	}
	exchanges := n.exchanges
	switch {
	case layout == marketdata.TopicPerKind && len(exchanges) > 0:
		return nil, fmt.Errorf("--exchange: the one topic of a kind (--layout %s) is of all exchanges; leave it out", layout)
	case layout == marketdata.TopicPerKind:
		exchanges = []string{""}
	case len(exchanges) == 0:
		return nil, fmt.Errorf("--exchange: name the exchanges, or give --layout %s", marketdata.TopicPerKind)
	}
	var names []string
	for _, k := range kinds {
		for _, exchange := range exchanges {
			name := layout.Topic(k, strings.TrimSpace(exchange))
			if err := checkTopicName(name); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return unique(names), nil
}

// checkTopicName says whether records of a topic would be stored, and whether
// brokers take the name.
func checkTopicName(name string) error {
	k, exchange, ok := marketdata.KindOfTopic(name)
	if want := marketdata.TopicName(k, exchange); ok && want != name {
		return fmt.Errorf("topic %s: producers write the exchange in lower case; did you mean %s?", name, want)
	}
	if ok {
		if i := strings.IndexFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
		}); i >= 0 || len(name) > 249 {
			return fmt.Errorf("topic %q: a topic's name has up to 249 of letters, digits, '.', '_' and '-'", name)
		}
		return nil
	}
	if near := suggestTopic(name); near != "" {
		return fmt.Errorf("topic %s: its name tells no kind of market data; did you mean %s?", name, near)
	}
	var forms []string
	for _, k := range marketdata.Kinds() {
		forms = append(forms, marketdata.TopicName(k, ""))
	}
	return fmt.Errorf("topic %s: its name tells no kind of market data; names are %s, each also with -EXCHANGE", name, strings.Join(forms, ", "))
}
