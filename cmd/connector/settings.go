package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/internal/rest"
)

// processConfig holds the keys of the process itself.
type processConfig struct {
	Listeners        []string      `json:"listeners" jsonschema:"description=Addresses of the HTTP server, separated by commas. Port 0 picks a free one and says which; a host that is left out means all interfaces. Nothing asks for a password: leave it on the loopback interface, or behind something that does." importance:"high"`
	MetricsListeners []string      `json:"metrics.listeners" jsonschema:"description=Addresses that serve /metrics and /health alone, for a network from which only these may be reached. Empty: the same as listeners."`
	LogLevel         slog.Level    `json:"log.level" jsonschema:"description=The least grave messages that are logged,enum=DEBUG,enum=INFO,enum=WARN,enum=ERROR"`
	LogFormat        string        `json:"log.format" jsonschema:"description=Form of the log, which goes to standard error,enum=text,enum=json"`
	ShutdownTimeout  time.Duration `json:"shutdown.timeout.ms" jsonschema:"description=After SIGTERM, how long to wait for what was accepted to be stored and for the groups to be left. What is not stored by then is read again."`
}

func defaultProcessConfig() processConfig {
	return processConfig{
		Listeners:       []string{"http://127.0.0.1:8083"},
		LogLevel:        slog.LevelInfo,
		LogFormat:       "text",
		ShutdownTimeout: 20 * time.Second,
	}
}

func (c *processConfig) Validate() error {
	var errs []error
	if len(c.Listeners) == 0 {
		errs = append(errs, errors.New("listeners: at least one address is needed, such as http://127.0.0.1:8083"))
	}
	for key, listeners := range map[string][]string{"listeners": c.Listeners, "metrics.listeners": c.MetricsListeners} {
		for _, l := range listeners {
			if err := rest.CheckListener(l); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
		}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("log.format: %q is neither text nor json", c.LogFormat))
	}
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		errs = append(errs, fmt.Errorf("shutdown.timeout.ms: %d is outside 1000..3600000", c.ShutdownTimeout.Milliseconds()))
	}
	return errors.Join(errs...)
}

// logger writes as the configuration says, without secrets.
func (c *processConfig) logger(w io.Writer, redactor *config.Redactor) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(redactor.Writer(w), opts))
	}
	return slog.New(slog.NewTextHandler(redactor.Writer(w), opts))
}
