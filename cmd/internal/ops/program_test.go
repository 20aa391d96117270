package ops

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// What went wrong is one line, and the status tells flags from what they lead to; help is no error.
func TestStatusAndHelp(t *testing.T) {
	for argument, want := range map[string]struct {
		status int
		line   string
	}{
		"--fine":  {0, ""},
		"--help":  {0, ""},
		"--wrong": {2, `help="prog --help"`},
		"--fails": {1, "prog ends"},
	} {
		var out, usage bytes.Buffer
		parse := func(arguments []string) (string, error) {
			flags := pflag.NewFlagSet("prog", pflag.ContinueOnError)
			flags.SetOutput(&usage)
			Help(flags, "Does nothing.", [2]string{"Like this:", "--fine"})
			flags.Bool("fine", false, "be so")
			fails := flags.Bool("fails", false, "do so")
			err := flags.Parse(arguments)
			if *fails {
				return "fails", err
			}

			return "fine", err
		}
		run := func(_ context.Context, o string, _ *slog.Logger) error {
			if o == "fails" {
				return errors.New("it did")
			}

			return nil
		}
		if got := Main(t.Context(), NewLogger(&out), "prog", []string{argument}, parse, run); got != want.status {
			t.Errorf("%s: status %d, want %d", argument, got, want.status)
		}
		if lines := strings.Count(out.String(), "\n"); (want.line != "") != (lines == 1) ||
			!strings.Contains(out.String(), want.line) {
			t.Errorf("%s: logged %q", argument, out.String())
		}
		help := usage.String()
		for _, part := range []string{"Does nothing.", "prog [flags]", "# Like this:\n  prog --fine", "--fails"} {
			if strings.Contains(help, part) != (argument == "--help") {
				t.Errorf("%s: printed %q, with or without %q", argument, help, part)
			}
		}
	}
}
