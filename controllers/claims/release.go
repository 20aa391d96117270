package claims

import (
	"context"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// releases is how many claims of one call are released at a time.
const releases = 16

// Release ends the holder's claims for these openings, and earlier ones. It leaves alone what
// is others', and what the holder has claimed for a later one: who asks may have been held up
// since. It fails with ErrUnanswerable, after having tried all.
func (c *Claims) Release(ctx context.Context, namespace string, openings []Opening, holder Holder) error {
	var group errgroup.Group
	group.SetLimit(releases)
	for _, opening := range openings {
		group.Go(func() error { return c.release(ctx, namespace, opening, holder) })
	}

	return group.Wait() // Wrapped by release.
}

func (c *Claims) release(ctx context.Context, namespace string, opening Opening, holder Holder) error {
	// What is known here may be older than the claim that is to be released: another
	// replica may have made it just now.
	for range attempts {
		held, err := c.look(ctx, namespace, opening.ChannelID)
		if err != nil {
			return err
		}
		if held == nil || held.holder != holder || held.opening > opening.Number {
			return nil
		}
		deleted, err := c.remove(ctx, held)
		if err != nil {
			return c.unanswerable(err)
		}
		if deleted {
			c.metrics.released.Inc()

			return nil
		}
	}

	return ErrUnanswerable
}

// remove deletes the claim as it is known, and nothing that has come in its place: false
// where it has been renewed, or has passed on, meanwhile.
func (c *Claims) remove(ctx context.Context, held *claim) (deleted bool, err error) {
	leave, err := c.enter(ctx, held.namespace)
	if err != nil {
		return false, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	uid := types.UID(held.uid)
	as := &metav1.Preconditions{UID: &uid, ResourceVersion: &held.resourceVersion}
	err = c.leases.Delete(ctx, held.name, metav1.DeleteOptions{Preconditions: as})
	switch {
	case apierrors.IsConflict(err):
		return false, nil
	case err != nil && !apierrors.IsNotFound(err):
		return false, err
	}
	c.dropDeleted(held.name, held.uid)
	c.tell(held.namespace)

	return true, nil
}
