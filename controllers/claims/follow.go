package claims

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// A watch lasts for between shortWatch and longWatch; after it all is listed anew,
	// whatever it told, so that a restored etcd is noticed.
	shortWatch, longWatch = 5 * time.Minute, 10 * time.Minute
	// silence is after how long without an event or a bookmark, which comes each minute,
	// a watch is not believed any more.
	silence = 90 * time.Second
	// Tries begin at least retryEvery apart and up to retryJitter more.
	retryEvery, retryJitter = 200 * time.Millisecond, 100 * time.Millisecond
	// page is how many Leases one answer to a list has.
	page = 1000
	// listTimeout bounds one page.
	listTimeout = 15 * time.Second
	// sayAgain is after how long the same trouble is logged again.
	sayAgain = 30 * time.Second
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=default,resources=leases,verbs=list;watch

// Run follows the claims until ctx ends.
func (c *Claims) Run(ctx context.Context) error {
	var telling sync.WaitGroup
	defer telling.Wait()
	for namespace := range c.tellers {
		telling.Go(func() { c.tellAlways(ctx, namespace) })
	}
	said, saidAt := "", time.Time{}
	for ctx.Err() == nil {
		began := time.Now()
		err := c.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			continue // At its own time: what is known is listed anew, and known meanwhile.
		}
		err = advise(err, c.config.Namespace)
		c.setKnown(err)
		if err.Error() != said || time.Since(saidAt) >= sayAgain {
			said, saidAt = err.Error(), time.Now()
			c.log.Error("the claims of channels are not followed; trying again", "namespace", c.config.Namespace, "err", err)
		}
		sleep(ctx, time.Until(began.Add(retryEvery+rand.N(retryJitter)))) //nolint:gosec // Jitter is no secret.
	}

	return nil
}

// follow lists all claims and watches them until the watch ends: without an error at its
// own time.
func (c *Claims) follow(ctx context.Context) error {
	began := time.Now()
	all, version, err := c.list(ctx)
	if err != nil {
		return fmt.Errorf("list the Leases: %w", err)
	}
	c.replace(all, began)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lasting := int64((shortWatch + rand.N(longWatch-shortWatch)).Seconds()) //nolint:gosec // Jitter is no secret.
	events, err := c.leases.Watch(ctx, metav1.ListOptions{
		LabelSelector: TenantLabel, ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &lasting,
	})
	if err != nil {
		return fmt.Errorf("watch the Leases: %w", err)
	}
	defer events.Stop()
	c.setKnown(nil)

	return c.listen(ctx, events, time.Now().Add(time.Duration(lasting)*time.Second))
}

// list returns all claims as etcd has them, and the version of the collection.
func (c *Claims) list(ctx context.Context) (all []coordinationv1.Lease, version string, err error) {
	options := metav1.ListOptions{LabelSelector: TenantLabel, Limit: page}
	for {
		part, err := func() (*coordinationv1.LeaseList, error) {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()

			return c.leases.List(ctx, options)
		}()
		if err != nil {
			return nil, "", err // Wrapped by the caller.
		}
		all = append(all, part.Items...)
		if options.Continue = part.Continue; options.Continue == "" {
			return all, part.ResourceVersion, nil
		}
	}
}

// listen takes what a watch tells, which is to end at the time given.
func (c *Claims) listen(ctx context.Context, events watch.Interface, end time.Time) error {
	patience := time.NewTimer(silence)
	defer patience.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return fmt.Errorf("the watch has told nothing for %s", silence)
		case event, more := <-events.ResultChan():
			if !more {
				if time.Until(end) <= time.Second {
					return nil
				}

				return errors.New("the watch ended early")
			}
			patience.Reset(silence)
			if event.Type == watch.Error {
				return fmt.Errorf("the watch ended: %w", apierrors.FromObject(event.Object))
			}
			if lease, ok := event.Object.(*coordinationv1.Lease); ok {
				c.told(event.Type, lease)
			}
		}
	}
}

func (c *Claims) told(kind watch.EventType, lease *coordinationv1.Lease) {
	switch kind {
	case watch.Added, watch.Modified:
		c.take(lease, false)
	case watch.Deleted:
		c.dropDeleted(lease.Name, string(lease.UID))
	default: // A bookmark.
	}
}

// advise adds the mend to an error of the API server.
func advise(err error, namespace string) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; bind the role nagi-manager to the manager's ServiceAccount in --lease-namespace=%s",
			err, namespace)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w; make the namespace of --lease-namespace=%s", err, namespace)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w; check the credentials of this process", err)
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		return fmt.Errorf("%w; is the API server reachable?", err)
	}

	return err
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
