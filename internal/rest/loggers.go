package rest

import (
	"net/http"
)

// Loggers are those of this process.
type Loggers interface {
	// Levels are those that were set, by logger; root is always there.
	Levels() map[string]Level
	// Known says whether there is a level.
	Known(level string) bool
	// SetLevel sets a logger's level, and those of the ones below it. ok is false for
	// a level that there is not.
	SetLevel(logger, level string) (changed []string, ok bool)
}

// Level is a logger's level. LastModified is in ms since the epoch, nil since the start.
type Level struct {
	Level        string `json:"level"`
	LastModified *int64 `json:"last_modified"`
}

func (a api) listLoggers(*http.Request) (reply, error) { return ok(a.loggers.Levels()) }

func (a api) logger(r *http.Request) (reply, error) {
	levels := a.loggers.Levels()
	level, known := levels[r.PathValue("logger")]
	if !known {
		return reply{}, refuse(http.StatusNotFound, "Logger %s not found.", r.PathValue("logger"))
	}
	return ok(level)
}

func (a api) setLogger(r *http.Request) (reply, error) {
	logger := r.PathValue("logger")
	var body struct {
		Level *string `json:"level"`
	}
	if err := read(r, &body); err != nil {
		return reply{}, err
	}
	if body.Level == nil {
		return reply{}, refuse(http.StatusBadRequest, "Desired 'level' parameter was not specified in request.")
	}
	if r.URL.Query().Get("scope") == "cluster" {
		if !a.loggers.Known(*body.Level) {
			return reply{}, noLevel(*body.Level)
		}
		if err := a.SetClusterLevel(r.Context(), logger, *body.Level); err != nil {
			return reply{}, err
		}
		return reply{code: http.StatusNoContent}, nil
	}
	changed, known := a.loggers.SetLevel(logger, *body.Level)
	if !known {
		return reply{}, noLevel(*body.Level)
	}
	return ok(changed)
}

func noLevel(level string) error {
	return refuse(http.StatusNotFound, "invalid log level '%s'.", level)
}
