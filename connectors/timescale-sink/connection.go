package timescalesink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	connectTimeout = 10 * time.Second
	// After a context ends the server is asked to cancel; the connection is given
	// up if it has not answered by then.
	cancelLimit = 2 * time.Second
)

var errConnectionURL = errors.New("connection.url: cannot be read as postgres://user:password@host:port/database; " +
	"special characters in the password must be percent-encoded")

// connConfig makes the configuration of every connection. It keeps no state in
// the session, so that PgBouncer in transaction mode may stand between: no named
// prepared statements, settings only with SET LOCAL.
func (cfg *Config) connConfig(connector string) (*pgx.ConnConfig, error) {
	text, err := libpqURL(cfg.ConnectionURL)
	if err != nil {
		return nil, errConnectionURL
	}
	cc, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, urlError(err)
	}
	if cfg.ConnectionUser != "" {
		cc.User = cfg.ConnectionUser
	}
	if cfg.ConnectionPassword != "" {
		cc.Password = cfg.ConnectionPassword
	}
	for _, f := range cc.Fallbacks {
		if (f.Host != cc.Host || f.Port != cc.Port) && cc.ValidateConnect == nil {
			// Several hosts are a primary and its standbys: rows go to the primary.
			cc.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
		}
	}
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	cc.RuntimeParams["application_name"] = applicationName(connector)
	cc.RuntimeParams["client_encoding"] = "UTF8" // whatever the URL, the role or the database say: it is what is sent
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	cc.StatementCacheCapacity = 0
	cc.DescriptionCacheCapacity = 0
	cc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelLimit}
	}
	return cc, nil
}

// urlError says what is wrong with the URL. pgx's error may repeat parts of it,
// and with them of the password, so of that only what concerns the files and
// settings of TLS is passed on.
func urlError(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) && parse.Unwrap() != nil && strings.Contains(err.Error(), "failed to configure TLS (") {
		return fmt.Errorf("connection.url: sslmode, sslrootcert, sslcert, sslkey: %w", parse.Unwrap())
	}
	return errConnectionURL
}

// adviseTLS adds what to do to the error of a connection whose server could not
// prove who it is.
func adviseTLS(err error) error {
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &host):
		return fmt.Errorf("%w; connection.url: use a host name that the server's certificate holds, or sslmode=verify-ca", err)
	case errors.As(err, &verification):
		return fmt.Errorf("%w; connection.url: let sslrootcert name a PEM file with the authority that signed the server's certificate", err)
	}
	return err
}

// applicationNameMaxBytes is where PostgreSQL cuts an application_name.
const applicationNameMaxBytes = 63

// applicationName is what pg_stat_activity shows: exactly this text, since
// endBlockers compares it. PostgreSQL rewrites what is not printable ASCII and
// cuts what is too long, so such a name ends in a hash instead.
func applicationName(connector string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, "tickconnect/"+connector)
	if len(name) <= applicationNameMaxBytes && strings.HasSuffix(name, connector) {
		return name
	}
	hash := fmt.Sprintf("-%016x", uint64(lockKey(connector)))
	return name[:min(applicationNameMaxBytes-len(hash), len(name))] + hash
}

// libpqURL turns jdbc:postgresql://..., as Kafka Connect's users have it, into
// what libpq and pgx read. Any other text is returned as it is.
func libpqURL(text string) (string, error) {
	rest, isJDBC := strings.CutPrefix(text, "jdbc:")
	if !isJDBC {
		return text, nil
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "", err
	}
	in, out := u.Query(), url.Values{}
	for name := range in {
		value := in.Get(name)
		switch strings.ToLower(name) {
		case "user":
			u.User = withUser(u.User, value)
		case "password":
			out.Set("password", value)
		case "ssl":
			if value != "false" && !in.Has("sslmode") {
				out.Set("sslmode", "verify-full") // as pgjdbc does
			}
		case "targetservertype":
			out.Set("target_session_attrs", targetSessionAttrs(value))
		case "connecttimeout":
			out.Set("connect_timeout", value)
		case "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword":
			out.Set(strings.ToLower(name), value)
		}
		// The other parameters steer the Java driver and mean nothing here.
	}
	u.RawQuery = out.Encode()
	return u.String(), nil
}

func withUser(old *url.Userinfo, name string) *url.Userinfo {
	if password, has := old.Password(); has {
		return url.UserPassword(name, password)
	}
	return url.User(name)
}

func targetSessionAttrs(jdbc string) string {
	switch strings.ToLower(jdbc) {
	case "primary", "master":
		return "primary"
	case "secondary", "slave":
		return "standby"
	case "preferprimary", "prefersecondary", "preferslave":
		return "any"
	}
	return jdbc
}

// newPool makes the connections that a connector's sinks share: for checks, the
// dead letter outbox, and whatever must not wait for a Put. It opens none yet.
func newPool(cfg *Config, cc *pgx.ConnConfig) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	pc.ConnConfig = cc.Copy()
	pc.MaxConns = int32(cfg.PoolSize)
	pc.MinConns = 0
	pc.MaxConnIdleTime = time.Minute
	return pgxpool.NewWithConfig(context.Background(), pc)
}
