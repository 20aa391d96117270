package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
)

// Main runs a program, and returns the status that it is to exit with: 0 when it has ended as it was told to or has
// printed its help, 2 for flags that are wrong, 1 for anything else. What went wrong is one line of the log.
func Main[O any](
	ctx context.Context, log *slog.Logger, name string, arguments []string,
	parse func(arguments []string) (O, error), run func(ctx context.Context, o O, log *slog.Logger) error,
) (status int) {
	o, err := parse(arguments)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		log.Error(name+" does not start", "error", err, "help", name+" --help")

		return 2
	}
	if err := run(ctx, o, log); err != nil {
		log.Error(name+" ends", "error", err)

		return 1
	}

	return 0
}

// Help has --help say what a program does, and how it is called, before it lists the flags. An example is a comment and
// a command line.
func Help(flags *pflag.FlagSet, does string, examples ...[2]string) {
	flags.Usage = func() {
		var text strings.Builder
		fmt.Fprintf(&text, "%s\n\nUsage:\n  %s [flags]\n\nExamples:\n", does, flags.Name())
		for _, example := range examples {
			fmt.Fprintf(&text, "  # %s\n  %s %s\n\n", example[0], flags.Name(), example[1])
		}
		fmt.Fprintf(&text, "Flags:\n%s", flags.FlagUsages())
		_, _ = fmt.Fprint(flags.Output(), text.String())
	}
}
