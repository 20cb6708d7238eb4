package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/spf13/cobra"
)

// restFlags say where a replica's HTTP API is, and who asks.
type restFlags struct {
	url     string
	ca      string
	timeout time.Duration
	form    output
}

const (
	restURLVariable   = "TICKCONNECT_REST_URL"
	restTokenVariable = "TICKCONNECT_REST_TOKEN"
	restUserVariable  = "TICKCONNECT_REST_USER"
)

func (f *restFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.url, "url", cmp.Or(os.Getenv(restURLVariable), "http://127.0.0.1:8083"),
		"address of any replica; default: $"+restURLVariable+". $"+restTokenVariable+" holds a token, $"+restUserVariable+" user:password")
	flags.StringVar(&f.ca, "ca", "", "PEM file with the authorities to trust; default: the system's")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "longest wait for the answer")
	f.form = outputText
	flags.VarP(&f.form, "output", "o", "form of the answer: text or json")
}

// restClient talks to the API of a replica. What is busy for a moment is asked again.
type restClient struct {
	base  string
	http  *http.Client // asks again
	plain *http.Client
}

// errAbsent: there is no such connector.
var errAbsent = errors.New("not found")

func (f *restFlags) client() (*restClient, error) {
	u, err := url.Parse(f.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--url: %q is not an address such as http://127.0.0.1:8083", f.url)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: %s holds no PEM certificate", f.ca)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	retry := retryablehttp.NewClient()
	retry.Logger = nil
	retry.RetryMax = 5
	retry.RetryWaitMin, retry.RetryWaitMax = 100*time.Millisecond, 2*time.Second
	retry.HTTPClient = &http.Client{Transport: transport}
	retry.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		// Nothing was done of what was refused so. Another error may come after the
		// request was carried out.
		return err == nil && (resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests), nil
	}
	retry.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &restClient{base: strings.TrimSuffix(f.url, "/"), http: retry.StandardClient(), plain: retry.HTTPClient}, nil
}

// do sends a request and reads its answer into value, which may be nil.
func (c *restClient) do(ctx context.Context, method, path string, body, value any) error {
	return c.doIf(ctx, method, path, nil, body, value)
}

// doIf is do with further headers.
func (c *restClient) doIf(ctx context.Context, method, path string, header http.Header, body, value any) error {
	var text io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, text)
	if err != nil {
		return err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is a replica there? Say where with --url or $%s", err, restURLVariable)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return answeredError(resp.StatusCode, answer)
	}
	if value == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, value); err != nil {
		return fmt.Errorf("the answer to %s %s is not JSON; is %s the address of a connector?", method, path, c.base)
	}
	return nil
}

// health asks a replica how it is, which may be not well.
func (c *restClient) health(ctx context.Context, value any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/health", http.NoBody)
	if err != nil {
		return err
	}
	authorize(req)
	resp, err := c.plain.Do(req) // 503 is an answer here
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(value)
}

func authorize(req *http.Request) {
	if token := os.Getenv(restTokenVariable); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else if user, password, ok := strings.Cut(os.Getenv(restUserVariable), ":"); ok {
		req.SetBasicAuth(user, password)
	}
}

func answeredError(code int, answer []byte) error {
	var body struct {
		Message string `json:"message"`
	}
	message := http.StatusText(code)
	if json.Unmarshal(answer, &body) == nil && body.Message != "" {
		message = body.Message
	}
	switch code {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s Set $%s, or $%s to user:password", message, restTokenVariable, restUserVariable)
	case http.StatusNotFound:
		return fmt.Errorf("%s (%w)", message, errAbsent)
	}
	return errors.New(message)
}

// pathOf is the path of a connector, and below it.
func pathOf(name string, below ...string) string {
	return "/connectors/" + url.PathEscape(name) + strings.Join(append([]string{""}, below...), "/")
}
