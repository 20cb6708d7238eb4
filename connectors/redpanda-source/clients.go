package redpandasource

import (
	"context"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// sarama measures each request into registries that nobody reads here, for a
// few per cent of the time that a record takes.
func init() { metrics.UseNilMetrics = true }

// saramaConfig maps the configuration to sarama's, for one topic's group. The
// group changes the fetch size of its copy, so each group has its own.
func (c *ClientConfig) saramaConfig(metadataMaxAge time.Duration) (*sarama.Config, error) {
	s := sarama.NewConfig()
	s.Version = sarama.V2_8_0_0
	s.ClientID = c.ClientID

	// JoinGroup is answered only when all members have joined, so reading must
	// wait longer than a rebalance may take.
	s.Net.ReadTimeout = c.rebalanceTimeout() + 5*time.Second
	s.Net.DialTimeout = 5 * time.Second
	// One topic's client need not know all topics of the cluster.
	s.Metadata.Full = false
	s.Metadata.RefreshFrequency = max(metadataMaxAge, 10*time.Second)
	// Otherwise a refresh brings a deleted topic back.
	s.Metadata.AllowAutoTopicCreation = false

	s.Consumer.Return.Errors = true
	s.Consumer.IsolationLevel = sarama.ReadCommitted
	s.Consumer.Offsets.Initial = sarama.OffsetOldest
	// An offset that the log cannot serve would end the session also where it is
	// that of a refused claim. So sarama begins at the log's start instead, and
	// sessionRun ends the session if the claim was to be read.
	s.Consumer.Group.ResetInvalidOffsets = true
	// Fetch.Max stays 0: a limit makes sarama skip a record that is larger.
	s.Consumer.Fetch.Max = 0
	s.Consumer.MaxWaitTime = 250 * time.Millisecond
	// A partition that nobody reads stalls the topic's others for twice this.
	s.Consumer.MaxProcessingTime = 50 * time.Millisecond

	s.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{spread{}}
	s.Consumer.Group.Rebalance.Timeout = c.rebalanceTimeout()
	s.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	s.Consumer.Group.Session.Timeout = c.SessionTimeout()
	s.Consumer.Group.Heartbeat.Interval = c.heartbeatInterval()
	s.Consumer.Group.InstanceId = c.GroupInstanceID

	tlsConfig, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	if tlsConfig != nil {
		s.Net.TLS.Enable = true
		s.Net.TLS.Config = tlsConfig
	}
	if c.sasl() {
		mechanism, err := c.saslMechanism()
		if err != nil {
			return nil, err
		}
		s.Net.SASL.Enable = true
		s.Net.SASL.Version = sarama.SASLHandshakeV1
		s.Net.SASL.Mechanism = sarama.SASLMechanism(c.SASLMechanism)
		if s.Net.SASL.User, s.Net.SASL.Password, err = c.credentials(); err != nil {
			return nil, err
		}
		s.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{mechanism: mechanism} }
	}
	return s, s.Validate()
}

// KafkaOptions maps the configuration to options of franz-go.
func (c *ClientConfig) KafkaOptions() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers()...),
		kgo.ClientID(c.ClientID),
		kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(10 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	tlsConfig, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	if tlsConfig != nil {
		opts = append(opts, kgo.DialTLSConfig(tlsConfig))
	}
	if c.sasl() {
		mechanism, err := c.saslMechanism()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (c *ClientConfig) saslMechanism() (sasl.Mechanism, error) {
	user, password, err := c.credentials()
	if err != nil {
		return nil, err
	}
	switch c.SASLMechanism {
	case mechanismSHA256:
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), nil
	case mechanismSHA512:
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), nil
	default:
		return plain.Auth{User: user, Pass: password}.AsMechanism(), nil
	}
}

// scramClient lends franz-go's SCRAM to sarama, which brings none.
type scramClient struct {
	mechanism sasl.Mechanism
	session   sasl.Session
	first     []byte
	begun     bool
	done      bool
}

// Begin implements sarama.SCRAMClient; the mechanism holds the credentials.
func (s *scramClient) Begin(_, _, _ string) (err error) {
	s.session, s.first, err = s.mechanism.Authenticate(context.Background(), "")
	return err
}

// Step implements sarama.SCRAMClient: the first challenge is empty and is
// answered with the client's first message.
func (s *scramClient) Step(challenge string) (string, error) {
	if !s.begun {
		s.begun = true
		return string(s.first), nil
	}
	done, answer, err := s.session.Challenge([]byte(challenge))
	s.done = done
	return string(answer), err
}

// Done implements sarama.SCRAMClient.
func (s *scramClient) Done() bool { return s.done }
