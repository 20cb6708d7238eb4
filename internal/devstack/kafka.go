package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaOptions says where a private Apache Kafka lives. The zero value is a
// broker in a temporary folder, on a free port.
type KafkaOptions struct {
	// Cache keeps the fetched jars; empty means CacheDir.
	Cache string
	// Dir keeps the log and is used again by the next start; empty means a
	// temporary folder that Close removes.
	Dir string
	// Port on 127.0.0.1; 0 means a free one.
	Port int
	// HeapBytes bounds the broker's Java heap; 0 means 512 MiB.
	HeapBytes int64
	// Settings are further lines of server.properties, and win over ours.
	Settings map[string]string
	// Progress, if set, is called while the start takes its time.
	Progress func(Progress)
}

// Kafka is a private Apache Kafka: one node, broker and controller in one
// process, listening on 127.0.0.1 only, to which AddBroker adds others. What it acknowledged survives Kill, but
// not the machine's crash. Its methods may be called concurrently.
type Kafka struct {
	opts  KafkaOptions
	jars  string
	dir   string
	lock  *fileLock
	node  int
	first *Kafka // the cluster's controller; nil: this one is

	mu         sync.Mutex
	port       int
	controller int
	clusterID  string
	server     *process // nil when stopped or closed
	closed     bool
}

// StartKafka starts a private Apache Kafka and waits until it answers. The first
// start on a machine fetches it with Maven; where Java or Maven is missing the
// error is ErrUnavailable. A broker that an earlier process left behind in Dir
// is killed first. ctx bounds the start only.
func StartKafka(ctx context.Context, opts KafkaOptions) (*Kafka, error) {
	jars, err := findKafka(ctx, opts.Cache, opts.Progress)
	if err != nil {
		return nil, err
	}
	dir, lock, err := openData(opts.Dir, "kafka")
	if err != nil {
		return nil, err
	}
	k := &Kafka{opts: opts, jars: jars, dir: dir, lock: lock, port: opts.Port, node: 1}
	report(opts.Progress, "starting Apache Kafka")
	return k, k.begin(ctx)
}

// AddBroker starts another broker of the cluster, with the same settings, in a temporary
// folder and on a free port. It is a broker alone: end those before the first, which is the
// controller too.
func (k *Kafka) AddBroker(ctx context.Context, node int) (*Kafka, error) {
	opts := k.opts
	opts.Dir, opts.Port = "", 0
	dir, lock, err := openData("", "kafka")
	if err != nil {
		return nil, err
	}
	b := &Kafka{opts: opts, jars: k.jars, dir: dir, lock: lock, node: node, first: k, clusterID: k.ClusterID()}
	return b, b.begin(ctx)
}

func (k *Kafka) begin(ctx context.Context) error {
	k.mu.Lock()
	err := errors.Join(killAll(k.dir, nil), k.start(ctx))
	k.mu.Unlock()
	if err != nil {
		return errors.Join(err, k.Close())
	}
	return nil
}

// Brokers returns the bootstrap servers. They stay the same over Restart.
func (k *Kafka) Brokers() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []string{k.address()}
}

// ClusterID returns the cluster's id, which no other cluster has.
func (k *Kafka) ClusterID() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.clusterID
}

func (k *Kafka) address() string    { return fmt.Sprintf("127.0.0.1:%d", k.port) }
func (k *Kafka) data() string       { return filepath.Join(k.dir, "data") }
func (k *Kafka) logFile() string    { return filepath.Join(k.dir, "server.log") }
func (k *Kafka) properties() string { return filepath.Join(k.dir, "server.properties") }

// start runs the broker and waits until it answers. It needs k.mu.
func (k *Kafka) start(ctx context.Context) error {
	chosen := k.port != 0
	var err error
	// Another program may take a free port before the broker does.
	for range 3 {
		if !chosen {
			if k.port, err = freePort(ctx); err != nil {
				return err
			}
		}
		err = k.tryStart(ctx)
		if err == nil || chosen || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (k *Kafka) tryStart(ctx context.Context) error {
	if err := k.findController(ctx); err != nil {
		return err
	}
	if err := k.format(ctx); err != nil {
		return err
	}
	if err := k.configure(k.data()); err != nil {
		return err
	}
	heap := k.opts.HeapBytes
	if heap == 0 {
		heap = 512 << 20
	}
	cmd := k.java(context.Background(), fmt.Sprintf("-Xmx%d", heap), "-Dorg.slf4j.simpleLogger.showDateTime=true", "kafka.Kafka", k.properties())
	server, err := startProcess(cmd, account{}, syscall.SIGTERM, k.logFile())
	if err != nil {
		return err
	}
	if err := k.waitReady(ctx, server); err != nil {
		server.kill()
		return fmt.Errorf("starting Apache Kafka: %w; %s ends with:\n%s", err, k.logFile(), logTail(k.logFile()))
	}
	k.server = server
	return nil
}

// findController gives the controller's port: a free one at the first start, and the same
// over Restart, for the sake of the other brokers.
func (k *Kafka) findController(ctx context.Context) (err error) {
	switch {
	case k.first != nil:
		k.first.mu.Lock()
		defer k.first.mu.Unlock()
		k.controller = k.first.controller
	case k.controller == 0 || k.clusterID == "":
		k.controller, err = freePort(ctx)
	}
	return err
}

// java returns a command with the broker's jars on the class path. Java itself
// expands the star.
func (k *Kafka) java(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "java", append([]string{"-cp", filepath.Join(k.jars, "*")}, args...)...)
	cmd.Dir = k.dir
	return cmd
}

// configure writes server.properties for a log in the folder data.
func (k *Kafka) configure(data string) error {
	voter := fmt.Sprintf("127.0.0.1:%d", k.controller)
	settings := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        "1",
		"controller.quorum.voters":       "1@" + voter,
		"listeners":                      "PLAINTEXT://" + k.address() + ",CONTROLLER://" + voter,
		"advertised.listeners":           "PLAINTEXT://" + k.address(),
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "PLAINTEXT",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                       data,
		"auto.create.topics.enable":      "false",
		// The internal topics want three brokers by default.
		"offsets.topic.replication.factor":                 "1",
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		// An empty group starts at once.
		"group.initial.rebalance.delay.ms": "0",
		// A start after a kill waits until the dead broker's session ends.
		"broker.session.timeout.ms":    "2000",
		"broker.heartbeat.interval.ms": "500",
	}
	if k.first != nil {
		settings["process.roles"] = "broker"
		settings["node.id"] = fmt.Sprint(k.node)
		settings["listeners"] = "PLAINTEXT://" + k.address()
	}
	maps.Copy(settings, k.opts.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// In a properties file a backslash escapes.
		fmt.Fprintf(&text, "%s=%s\n", name, strings.ReplaceAll(settings[name], `\`, `\\`))
	}
	return os.WriteFile(k.properties(), []byte(text.String()), 0o644)
}

// format prepares the log's folder where there is none and gives the cluster its
// id. The folder appears under its name when it is whole.
func (k *Kafka) format(ctx context.Context) error {
	meta := filepath.Join(k.data(), "meta.properties")
	if !fileExists(meta) {
		if fileExists(k.data()) {
			return fmt.Errorf("%s is there and is not a Kafka log: use another folder", k.data())
		}
		work := filepath.Join(k.dir, unfinished)
		if err := errors.Join(os.RemoveAll(work), k.configure(work)); err != nil {
			return err
		}
		out, err := output(k.java(ctx, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", cmp.Or(k.clusterID, newClusterID()), "-c", k.properties()), account{})
		if err != nil {
			return fmt.Errorf("formatting Kafka's data folder: %w: %s", err, lastLines(string(out), 4))
		}
		if err := os.Rename(work, k.data()); err != nil {
			return err
		}
	}
	content, err := os.ReadFile(meta)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if id, ok := strings.CutPrefix(line, "cluster.id="); ok {
			k.clusterID = strings.TrimSpace(id)
		}
	}
	if k.clusterID == "" {
		return fmt.Errorf("%s holds no cluster.id", meta)
	}
	return nil
}

// waitReady waits until the broker that answers on the port is this one.
func (k *Kafka) waitReady(ctx context.Context, server *process) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.address()), kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		try, cancelTry := context.WithTimeout(ctx, 2*time.Second)
		meta, err := kadm.NewClient(client).BrokerMetadata(try)
		cancelTry()
		if err == nil && meta.Cluster != k.clusterID {
			return fmt.Errorf("port %d belongs to another cluster: %s", k.port, meta.Cluster)
		}
		if err == nil && slices.ContainsFunc(meta.Brokers, func(b kadm.BrokerDetail) bool { return int(b.NodeID) == k.node }) {
			return nil
		}
		select {
		case <-server.done:
			return fmt.Errorf("the broker ended: %s", server.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
