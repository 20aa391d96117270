package rtc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// loggers gives Pion's logs to slog, all of them at debug level: strangers' datagrams can provoke Pion's warnings and
// errors at will, and what matters of them comes back as an error or as OnClosed.
type loggers struct{ log *slog.Logger }

// NewLogger is that of logging.LoggerFactory.
func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	return logger{log: l.log.With("scope", scope)}
}

type logger struct{ log *slog.Logger }

func (l logger) print(level, message string) {
	l.log.Debug(message, "pion", level)
}

func (l logger) printf(level, format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.print(level, fmt.Sprintf(format, args...))
	}
}

func (logger) Trace(string)                        {}
func (logger) Tracef(string, ...any)               {}
func (l logger) Debug(message string)              { l.print("debug", message) }
func (l logger) Debugf(format string, args ...any) { l.printf("debug", format, args) }
func (l logger) Info(message string)               { l.print("info", message) }
func (l logger) Infof(format string, args ...any)  { l.printf("info", format, args) }
func (l logger) Warn(message string)               { l.print("warn", message) }
func (l logger) Warnf(format string, args ...any)  { l.printf("warn", format, args) }
func (l logger) Error(message string)              { l.print("error", message) }
func (l logger) Errorf(format string, args ...any) { l.printf("error", format, args) }
