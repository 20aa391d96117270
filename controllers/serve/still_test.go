package serve

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/objects"
)

// still holds objects that nothing happens to, where more of them are needed than
// an API server takes in a test's time.
type still struct {
	changes []objects.Change
	changed func([]objects.Change, uint64)
}

func (s *still) Run(ctx context.Context) error {
	s.changed(s.changes, 1)
	<-ctx.Done()

	return nil
}

func (s *still) Ready() error                          { return nil }
func (s *still) Synced() bool                          { return true }
func (s *still) Get(string) *held.Pause                { return nil }
func (s *still) Stale() bool                           { return false }
func (s *still) Undecodable() []objects.Undecodable    { return nil }
func (s *still) Confirm(context.Context, uint64) error { return nil }

// knowledgeOf is of the namespace "tenant".
func knowledgeOf(t testing.TB, changes []objects.Change) *knowledge.Knowledge {
	t.Helper()
	k, err := knowledge.New(knowledge.Config{
		Namespaces: []string{"tenant"}, Log: slog.New(slog.DiscardHandler),
		Open: func(_ string, changed func([]objects.Change, uint64)) (knowledge.Store, error) {
			return &still{changes: changes, changed: changed}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	return k
}
