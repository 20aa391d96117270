package knowledge

import (
	"context"

	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/objects"
)

// Change is one object before and after.
type Change = objects.Change

// Store is what knowledge needs of the objects of one namespace; objects.Store is
// one.
type Store interface {
	Run(ctx context.Context) error
	Ready() error
	Synced() bool
	Stale() bool
	Get(name string) *held.Pause
	Undecodable() []objects.Undecodable
	Confirm(ctx context.Context, version uint64) error
}

// open makes the store that follows the API server.
func (c Config) open(namespace string, changed func([]Change, uint64)) (Store, error) {
	return objects.New(objects.Config{
		REST: c.REST, Namespace: namespace, Log: c.Log, Registerer: c.Registerer,
		StaleAfter: c.StaleAfter, Changed: changed,
	}) // The caller wraps the error.
}
