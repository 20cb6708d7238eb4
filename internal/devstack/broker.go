package devstack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerOptions says what an in-process broker offers. The zero value is one
// broker that keeps everything in memory, on a free port.
type BrokerOptions struct {
	// Dir keeps the log and is used again by the next start; empty means memory.
	Dir string
	// Port on 127.0.0.1 of the first broker; 0 means a free one. Further brokers
	// get free ones.
	Port int
	// Brokers is how many there are; 0 means 1. Replication between them is in
	// name only.
	Brokers int
	// Topics are made where Dir holds no log yet.
	Topics []BrokerTopic
	// TLS, if set, is the listener's configuration.
	TLS *tls.Config
	// Users, if any, turn SASL on. They may do everything unless they are
	// restricted. Those of an earlier start in Dir count no more.
	Users []BrokerUser
}

// BrokerTopic is a topic that exists from the start.
type BrokerTopic struct {
	Name       string
	Partitions int32
}

// BrokerUser may log in. Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
type BrokerUser struct {
	Mechanism, Name, Password string
	// Restricted says that the user may do only what an ACL allows, as those that a
	// test makes over the admin API.
	Restricted bool
}

// Broker is a Kafka cluster inside this process, listening on 127.0.0.1 only.
type Broker struct {
	cluster *kfake.Cluster
	brokers []string
	lock    *fileLock // nil in memory
	log     *brokerLog
	close   func() error
}

// StartBroker starts an in-process broker. With a folder it loads what that
// holds, and syncs every record to the disk before it acknowledges it: a torn
// tail would let offsets be used twice, and a ledger that is ahead of the log
// would skip the new records.
func StartBroker(ctx context.Context, opts BrokerOptions) (*Broker, error) {
	b := &Broker{log: &brokerLog{}}
	ports := make([]int, max(1, opts.Brokers))
	ports[0] = opts.Port
	options := []kfake.Opt{
		kfake.Ports(ports...),
		kfake.ClusterID(newClusterID()),
		kfake.WithLogger(b.log),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			if address == "127.0.0.1:0" {
				return listenFree(ctx)
			}
			return new(net.ListenConfig).Listen(ctx, network, address)
		}),
		// Tests of a lost member need not wait for Kafka's 6 s.
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.GroupMaxSessionTimeout(30 * time.Minute), // Kafka's default
	}
	for _, topic := range opts.Topics {
		options = append(options, kfake.SeedTopics(topic.Partitions, topic.Name))
	}
	if opts.TLS != nil {
		options = append(options, kfake.TLS(opts.TLS))
	}
	if len(opts.Users) > 0 {
		options = append(options, kfake.EnableSASL())
	}
	for _, user := range opts.Users {
		if user.Restricted {
			options = append(options, kfake.EnableACLs(), kfake.User(user.Mechanism, user.Name, user.Password))
			continue
		}
		options = append(options, kfake.Superuser(user.Mechanism, user.Name, user.Password))
	}
	if opts.Dir != "" {
		dir, lock, err := openData(opts.Dir, "broker")
		if err != nil {
			return nil, err
		}
		b.lock = lock
		// kfake would prefer the users that it saved.
		if err := os.Remove(filepath.Join(dir, "data", "sasl.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
			lock.release()
			return nil, err
		}
		options = append(options, kfake.DataDir(filepath.Join(dir, "data")), kfake.SyncWrites())
	}
	b.close = sync.OnceValue(b.closeOnce)
	var err error
	if b.cluster, err = kfake.NewCluster(options...); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the in-process broker: %w", err), b.Close())
	}
	b.brokers = b.cluster.ListenAddrs()
	return b, nil
}

// Brokers returns the bootstrap servers.
func (b *Broker) Brokers() []string { return b.brokers }

// Close ends the broker and its connections, saves its state where it has a
// folder, and releases that. It may be called again.
func (b *Broker) Close() error { return b.close() }

func (b *Broker) closeOnce() error {
	var err error
	if b.cluster != nil {
		b.cluster.Close()
		err = b.log.err()
	}
	if b.lock != nil {
		b.lock.release()
	}
	return err
}

// brokerLog keeps what kfake has no other way to say: that it could not save.
type brokerLog struct {
	mu     sync.Mutex
	errors []error
}

// Logf implements kfake.Logger.
func (l *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if level != kfake.LogLevelError || !(strings.HasPrefix(format, "persist") || strings.HasPrefix(format, "save")) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, fmt.Errorf("in-process broker: "+format, args...))
}

func (l *brokerLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errors...)
}
