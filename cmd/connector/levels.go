package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/internal/rest"
)

// levels are the loggers' levels: of root, and of each connector's logger, which is
// connector.<name>. One that was not set has root's.
type levels struct {
	mu     sync.RWMutex
	root   slog.Level
	byName map[string]rest.Level
}

func newLevels(root slog.Level) *levels {
	return &levels{root: root, byName: map[string]rest.Level{"root": {Level: root.String()}}}
}

const loggerPrefix = "connector."

// levelsByName are the names that Kafka Connect takes, which are log4j's.
var levelsByName = map[string]slog.Level{
	"ALL": slog.LevelDebug, "TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn,
	"ERROR": slog.LevelError, "FATAL": slog.LevelError, "OFF": slog.LevelError + 100,
}

// Levels implements rest.Loggers.
func (l *levels) Levels() map[string]rest.Level {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make(map[string]rest.Level, len(l.byName))
	for name, level := range l.byName {
		all[name] = level
	}
	return all
}

// Known implements rest.Loggers.
func (l *levels) Known(level string) bool {
	_, ok := levelsByName[strings.ToUpper(level)]
	return ok
}

// SetLevel implements rest.Loggers.
func (l *levels) SetLevel(logger, level string) (changed []string, ok bool) {
	if !l.Known(level) {
		return nil, false
	}
	level = strings.ToUpper(level)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UnixMilli()
	changed = []string{logger}
	for name := range l.byName {
		if name != logger && (logger == "root" || strings.HasPrefix(name, logger)) {
			changed = append(changed, name)
		}
	}
	if logger == "root" {
		l.root = levelsByName[level]
	}
	for _, name := range changed {
		l.byName[name] = rest.Level{Level: level, LastModified: &now}
	}
	slices.Sort(changed)
	return changed, true
}

func (l *levels) set(logger, level string) { l.SetLevel(logger, level) }

func (l *levels) enabled(logger string, level slog.Level) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if set, ok := l.byName[logger]; ok && logger != "" {
		return level >= levelsByName[set.Level]
	}
	return level >= l.root
}

// levelHandler logs what its logger's level lets through.
type levelHandler struct {
	slog.Handler
	levels *levels
	logger string
}

// Enabled implements slog.Handler.
func (h levelHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.levels.enabled(h.logger, level)
}

// WithAttrs implements slog.Handler: the attribute connector names the logger.
func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "connector" {
			h.logger = loggerPrefix + a.Value.String()
		}
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h levelHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
