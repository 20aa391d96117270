package claims

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attempts is how often a claim is looked at anew when others change it meanwhile.
const attempts = 5

// Witness is what a replica has heard of the media servers of one namespace.
type Witness interface {
	// Silence is for how long this replica has listened to the media server and heard
	// nothing; 0 while it streams.
	Silence(of Holder) time.Duration
	// Ended is when it said farewell and ended its stream; zero: it has not.
	Ended(holder Holder) time.Time
	// PeerAddress is where other media servers reach this one, host:port; empty: it is not
	// known here.
	PeerAddress(of Holder) string
	// Reached asks every other media server whether it reaches this one, where PeerAddress
	// does not tell at the address given. It fails where none has answered.
	Reached(ctx context.Context, holder Holder, address string) (bool, error)
}

// Owner tells who owns a channel, by what is remembered while the API server is away. A
// claim that passes on is nobody's. It fails with ErrUnanswerable.
func (c *Claims) Owner(
	ctx context.Context, namespace, channelID string, w Witness,
) (owner Holder, claimed bool, err error) {
	held, known := c.get(NameOf(namespace, channelID))
	if held == nil && !known {
		if held, err = c.look(ctx, namespace, channelID); err != nil {
			return Holder{}, false, err
		}
	}
	if held == nil || c.passesOn(ctx, held, w) != "" {
		return Holder{}, false, nil
	}

	return held.holder, true, nil
}

// Claim makes the claimant the owner of a channel that has none, and tells who is the
// owner: whoever was first. mayOwn tells why the claimant may own no further channel; its
// error is returned as it is. Other errors wrap ErrUnanswerable or ErrTooMany.
//
// Who is told to own a channel has its claim written by that, its own already too: so
// whatever others judged it by before, to release, collect or take it over, is old. The
// claimant is told the latest opening that it has claimed the channel for: a request that was
// held up on its way makes that no earlier one.
func (c *Claims) Claim(
	ctx context.Context, namespace string, opening Opening, claimant Holder, w Witness, mayOwn func() error,
) (owner Holder, latest uint64, err error) {
	channelID := opening.ChannelID
	held, known := c.get(NameOf(namespace, channelID))
	if held != nil && !known {
		if held, err = c.look(ctx, namespace, channelID); err != nil {
			return Holder{}, 0, err
		}
	}
	for range attempts {
		own, passes := held != nil && held.holder == claimant, ""
		if held != nil && !own {
			if passes = c.passesOn(ctx, held, w); passes == "" {
				return held.holder, 0, nil
			}
		}
		if !own {
			if err := c.mayOwn(namespace, claimant, mayOwn); err != nil {
				return Holder{}, 0, err
			}
		}
		next, err := c.write(ctx, namespace, opening, claimant, w.PeerAddress(claimant), held)
		switch {
		case err == nil:
			if !own {
				c.made(held, next, passes)
			}

			return claimant, next.opening, nil
		case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && held != nil:
		default:
			return Holder{}, 0, c.unanswerable(err)
		}
		if held, err = c.look(ctx, namespace, channelID); err != nil {
			return Holder{}, 0, err
		}
	}

	return Holder{}, 0, fmt.Errorf("%w: others change its claim all the time", ErrUnanswerable)
}

func (c *Claims) mayOwn(namespace string, claimant Holder, mayOwn func() error) error {
	c.mu.Lock()
	ofHolder, ofNamespace := len(c.holders[holderKey{namespace, claimant}]), c.counts[namespace]
	c.mu.Unlock()
	err := mayOwn()
	switch {
	case err != nil:
	case ofHolder >= maxOfHolder:
		err = fmt.Errorf("%w: media server %q has %d, which is the bound", ErrTooMany, claimant.Name, ofHolder)
	case ofNamespace >= maxOfNamespace:
		err = fmt.Errorf("%w: namespace %q has %d, which is the bound", ErrTooMany, namespace, ofNamespace)
	}
	if err != nil {
		c.metrics.refused.Inc()
	}

	return err
}

// made counts and tells a claim that was made or passed on.
func (c *Claims) made(before, after *claim, passes string) {
	if before == nil {
		c.metrics.made.Inc()
		c.log.Debug("a channel is claimed",
			"namespace", after.namespace, "channel", after.channelID, "mediaServer", after.holder.Name)

		return
	}
	c.metrics.takenOver.WithLabelValues(passes).Inc()
	c.log.Info("the claim of a channel passes on", "namespace", after.namespace, "channel", after.channelID,
		"from", before.holder.Name, "to", after.holder.Name, "because", passes)
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=default,resources=leases,verbs=get;create;update;delete

// write makes the claim, or, where one is given, renews it or has it pass on.
func (c *Claims) write(
	ctx context.Context, namespace string, opening Opening, to Holder, address string, from *claim,
) (*claim, error) {
	leave, err := c.enter(ctx, namespace)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := time.Now()
	next := &claim{
		namespace: namespace, channelID: opening.ChannelID, name: NameOf(namespace, opening.ChannelID),
		holder: to, address: address, opening: opening.Number, acquired: now, renewed: now,
	}
	var lease *coordinationv1.Lease
	if from == nil {
		lease, err = c.leases.Create(ctx, next.lease(c.config.Namespace), metav1.CreateOptions{})
	} else {
		next.resourceVersion, next.transitions = from.resourceVersion, from.transitions+1
		if from.holder == to {
			next.acquired, next.transitions = from.acquired, from.transitions
			next.opening = max(opening.Number, from.opening)
		}
		lease, err = c.leases.Update(ctx, next.lease(c.config.Namespace), metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, err
	}
	c.take(lease, true)
	c.tell(namespace) // What this replica writes it knows at once.

	return next, nil
}

// look reads the claim from etcd; nil: there is none.
func (c *Claims) look(ctx context.Context, namespace, channelID string) (*claim, error) {
	leave, err := c.enter(ctx, namespace)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	name := NameOf(namespace, channelID)
	before, _ := c.get(name)
	lease, err := c.leases.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		c.drop(before)

		return nil, nil //nolint:nilnil // There is none, and that is no error.
	case err != nil:
		return nil, c.unanswerable(err)
	}
	if held := c.take(lease, false); held != nil {
		return held, nil
	}

	// It lies where the claim has to be, and is none: it passes on at once.
	return &claim{
		namespace: namespace, channelID: channelID, name: name,
		uid: string(lease.UID), resourceVersion: lease.ResourceVersion,
	}, nil
}

// unanswerable is for the log what the API server said, and for the caller that it did not
// say enough.
func (c *Claims) unanswerable(err error) error {
	c.metrics.failures.Inc()
	c.log.Warn("the API server did not answer about a claim", "err", advise(err, c.config.Namespace))

	return fmt.Errorf("%w: %w", ErrUnanswerable, err)
}
