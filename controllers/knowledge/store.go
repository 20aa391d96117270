package knowledge

import (
	"context"
	"errors"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Change is one object before and after; nil where it was not, or is not, there.
type Change struct{ Before, After *v1alpha1.RtpStreamPause }

// Undecodable is a stored object that does not decode.
type Undecodable struct {
	Name, UID string
	Err       error
}

// Store is what knowledge needs of the objects of one namespace; objects.Store is
// one.
type Store interface {
	Run(ctx context.Context) error
	Ready() error
	Synced() bool
	Stale() bool
	Undecodable() []Undecodable
	Confirm(ctx context.Context, version uint64) error
}

func (c Config) open(string, func([]Change, uint64)) (Store, error) {
	return nil, errors.New("no store of objects")
}
