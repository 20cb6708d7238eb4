package rest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// CheckListener says what is wrong with a listener such as
// http://127.0.0.1:8083, or nil. A host that is left out means all interfaces,
// as in Kafka Connect.
func CheckListener(listener string) error {
	_, err := hostPort(listener)
	return err
}

func hostPort(listener string) (string, error) {
	u, err := url.Parse(listener)
	switch {
	case err != nil, u.Port() == "", strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("%q is not an address such as http://127.0.0.1:8083", listener)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("%q: only http:// and https:// are served here", listener)
	}
	return u.Host, nil
}

// Bind binds a listener and gives it with its URL, which names the port that
// was picked where port 0 was asked for.
func Bind(ctx context.Context, listener string) (net.Listener, string, error) {
	address, err := hostPort(listener)
	if err != nil {
		return nil, "", err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, "", fmt.Errorf("%s is in use by another process; end that one, or set another port (0 picks a free one)", listener)
	}
	if err != nil {
		return nil, "", fmt.Errorf("listening on %s: %w", listener, err)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		l.Close()
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		l.Close()
		return nil, "", err
	}
	scheme, _, _ := strings.Cut(listener, ":")
	return l, scheme + "://" + net.JoinHostPort(host, port), nil
}
