package converters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/qicore/tickconnect/converters/schemas"
)

// SchemaConfig says how to reach a schema registry. Its keys are those of
// Confluent's converters; of ssl those of librdkafka, which name PEM files.
type SchemaConfig struct {
	RegistryURLs []string `json:"value.converter.schema.registry.url" jsonschema:"description=For value.converter avro and protobuf and jsonschema: the addresses of a schema registry that speaks Confluent's protocol as Redpanda's does."`
	UserInfo     string   `json:"value.converter.basic.auth.user.info" secret:"true" jsonschema:"description=User and password for the schema registry as user:password."`
	BearerToken  string   `json:"value.converter.bearer.auth.token" secret:"true" jsonschema:"description=A bearer token for the schema registry."`
	CA           string   `json:"value.converter.schema.registry.ssl.ca.location" jsonschema:"description=PEM file with the authorities to trust for the schema registry. Empty means the system's."`
	Certificate  string   `json:"value.converter.schema.registry.ssl.certificate.location" jsonschema:"description=PEM file with the client's certificate for the schema registry."`
	Key          string   `json:"value.converter.schema.registry.ssl.key.location" jsonschema:"description=PEM file with the client's private key for the schema registry."`
}

const registryKey = "value.converter.schema.registry.url"

// Validate says what is wrong, each message beginning with the key.
func (c *SchemaConfig) Validate() error {
	var errs []error
	if len(c.RegistryURLs) == 0 {
		errs = append(errs, fmt.Errorf("%s: is missing", registryKey))
	}
	for _, address := range c.RegistryURLs {
		u, err := url.Parse(address)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			errs = append(errs, fmt.Errorf("%s: an address is not of the form http://host:port", registryKey))
		case u.User != nil:
			errs = append(errs, fmt.Errorf("%s: put user and password into value.converter.basic.auth.user.info", registryKey))
		}
	}
	if c.UserInfo != "" && !strings.Contains(c.UserInfo, ":") {
		errs = append(errs, errors.New("value.converter.basic.auth.user.info: it is not of the form user:password"))
	}
	if c.UserInfo != "" && c.BearerToken != "" {
		errs = append(errs, errors.New("value.converter.bearer.auth.token: set either it or value.converter.basic.auth.user.info"))
	}
	if (c.Certificate == "") != (c.Key == "") {
		errs = append(errs, errors.New("value.converter.schema.registry.ssl.certificate.location: it and value.converter.schema.registry.ssl.key.location are set together"))
	}
	if _, err := c.tls(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// registry makes the client of a configuration that is valid.
func (c *SchemaConfig) registry() *schemas.Registry {
	user, password, _ := strings.Cut(c.UserInfo, ":")
	t, _ := c.tls()
	r, _ := schemas.New(schemas.Options{URLs: c.RegistryURLs, User: user, Password: password, Token: c.BearerToken, TLS: t})
	return r
}

// tls reads the PEM files; nil where none is named.
func (c *SchemaConfig) tls() (*tls.Config, error) {
	if c.CA == "" && c.Certificate == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("value.converter.schema.registry.ssl.ca.location: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("value.converter.schema.registry.ssl.ca.location: %s holds no PEM certificate", c.CA)
		}
	}
	if c.Certificate != "" && c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, fmt.Errorf("value.converter.schema.registry.ssl.certificate.location: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
