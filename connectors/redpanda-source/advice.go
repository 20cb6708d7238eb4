package redpandasource

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
)

// advise adds the settings to look at to the error of a connection that one side
// refused. It repeats no value of theirs.
func (c *ClientConfig) advise(err error) error {
	var host x509.HostnameError
	var unproven *tls.CertificateVerificationError
	var remote *net.OpError
	switch {
	case errors.As(err, &host):
		return fmt.Errorf("%w; bootstrap.servers: use host names that the brokers' certificates hold, and have the brokers advertise them", err)
	case errors.As(err, &unproven):
		return fmt.Errorf("%w; ssl.ca.location: let it name a PEM file with the authority that signed the brokers' certificates", err)
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert of TLS
		return fmt.Errorf("%w; ssl.certificate.location: the brokers want another certificate, or one at all", err)
	case errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return fmt.Errorf("%w; sasl.username, sasl.password: the brokers do not take them", err)
	case c.sasl() && errors.Is(err, io.EOF):
		// Some brokers say nothing and hang up.
		return fmt.Errorf("%w; sasl.username, sasl.password: the brokers closed the connection, so they may not take them", err)
	}
	return err
}
