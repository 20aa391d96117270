package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// nextAfter is how long a replica may take before the next one is asked too.
	nextAfter = 200 * time.Millisecond
	// callTimeout bounds a question to all replicas.
	callTimeout = 2 * time.Second
	// warmUp is how long after the start replicas are waited for that nothing has been heard
	// of yet, looking at them each lookInterval.
	warmUp       = 3 * time.Second
	lookInterval = 50 * time.Millisecond
)

// errAway is that no replica can say.
var errAway = errors.New("no manager can say now")

// Find tells where a channel is hosted, or is to be; nil: here. Passed tells that another
// media server passes the client on. Failed are the names of media servers that could not be
// reached just now.
func (p *Peers) Find(ctx context.Context, channelID string, passed bool, failed ...string) (*Place, error) {
	here, err := p.awaitEnd(ctx, channelID)
	if here || err != nil {
		return nil, err
	}
	place, err := p.find(ctx, channelID, passed, failed)
	if err != nil && p.isDraining() {
		err = fmt.Errorf("%w: %w", ErrDraining, err)
	}

	return place, err
}

func (p *Peers) find(ctx context.Context, channelID string, passed bool, failed []string) (*Place, error) {
	request := &forwardingv1.LocateRequest{
		Namespace: p.config.Namespace, MediaServer: p.config.Name, ChannelId: channelID, Unreachable: failed,
	}
	response, err := p.locate(ctx, request)
	if err == nil && response.GetClaimed() && response.GetMediaServer().GetName() == p.config.Name &&
		p.isLeftOver(channelID) {
		p.releaseLeftOver(ctx, channelID)
		response, err = p.locate(ctx, request)
	}
	switch {
	case errors.Is(err, errAway):
		return p.findAlone(ctx, channelID, passed, failed)
	case err != nil:
		return nil, err
	case response.GetMediaServer().GetName() == p.config.Name, passed && !response.GetClaimed() && !p.isDraining():
		// Here; where nobody has claimed it, who was passed on may as well be: claiming tells.
		return nil, nil //nolint:nilnil // Documented.
	}
	place := placeOf(response.GetMediaServer())
	place.Claimed = response.GetClaimed()

	return place, nil
}

// isLeftOver tells of a channel that is ours by claim that it is not open here, and is not to
// be opened here again.
func (p *Peers) isLeftOver(channelID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.draining && p.channels[channelID] == nil
}

// locate asks the replicas, and at the start until one is there.
func (p *Peers) locate(ctx context.Context, request *forwardingv1.LocateRequest) (*forwardingv1.LocateResponse, error) {
	for {
		response, err := p.locateOnce(ctx, request)
		if !errors.Is(err, errAway) || p.directory.known() || time.Since(p.began) > warmUp {
			return response, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookInterval):
		}
	}
}

func (p *Peers) locateOnce(
	ctx context.Context, request *forwardingv1.LocateRequest,
) (*forwardingv1.LocateResponse, error) {
	return askAll(ctx, p.config.Placements(),
		func(ctx context.Context, client forwardingv1.PlacementClient) (*forwardingv1.LocateResponse, error) {
			return client.Locate(ctx, request)
		})
}

// askAll asks one replica after the other, the next one when the one before cannot say or
// takes long, and returns the first answer. The error is errAway when none can say.
func askAll[T any](
	ctx context.Context, replicas []forwardingv1.PlacementClient,
	ask func(context.Context, forwardingv1.PlacementClient) (T, error),
) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, len(replicas))
	next := time.NewTimer(0)
	defer next.Stop()
	for pending := 0; len(replicas) > 0 || pending > 0; {
		select {
		case <-next.C:
			if len(replicas) == 0 {
				continue
			}
			replica := replicas[0]
			replicas = replicas[1:]
			pending++
			asked.Go(func() {
				answer, err := ask(ctx, replica)
				results <- result{answer, err}
			})
			next.Reset(nextAfter)
		case r := <-results:
			pending--
			switch status.Code(r.err) {
			case codes.OK:
				return r.answer, nil
			case codes.ResourceExhausted:
				return answer, ErrNoRoom
			case codes.FailedPrecondition:
				return answer, ErrMoved
			}
			next.Reset(0)
		}
	}

	return answer, errAway
}

// findAlone finds a channel without the managers: whoever hosts it, else one who may be able
// to claim it, since it may be this media server alone that hears no manager, else the
// rendezvous choice among those who answer, which is the same whoever asks. One that was
// passed on here has been with one who is not able.
func (p *Peers) findAlone(ctx context.Context, channelID string, passed bool, failed []string) (*Place, error) {
	others := slices.DeleteFunc(p.directory.others(), func(member *forwardingv1.Member) bool {
		return member.GetPeerAddress() == "" || slices.Contains(failed, member.GetName())
	})
	var all, able []*forwardingv1.Member
	if !p.isDraining() {
		all = append(all, &forwardingv1.Member{Name: p.config.Name})
	}
	for i, answer := range p.askOthers(ctx, others, channelID) {
		switch {
		case answer.err != nil:
			p.config.Log.Debug("a peer does not answer", "peer", others[i].GetName(), "error", answer.err)
		case answer.Hosted:
			place := placeOf(others[i])
			place.Claimed = true

			return place, nil
		case others[i].GetDraining():
		default:
			all = append(all, others[i])
			if answer.Able {
				able = append(able, others[i])
			}
		}
	}
	switch {
	case p.isOwed(channelID):
		return nil, nil //nolint:nilnil // It is ours still, as far as anybody knows.
	case !passed && len(able) > 0:
		all = able
	case len(all) == 0:
		return nil, ErrUnreachable
	}
	chosen := slices.MaxFunc(all, func(a, b *forwardingv1.Member) int {
		return bytes.Compare(rendezvous(channelID, a.GetName()), rendezvous(channelID, b.GetName()))
	})
	switch {
	case chosen.GetName() != p.config.Name:
		return placeOf(chosen), nil
	case p.config.WithoutClaim == Refuse:
		return nil, ErrUnclaimed
	}

	return nil, nil //nolint:nilnil // Here, as documented.
}

type peerAnswer struct {
	hostAnswer
	err error
}

// askOthers asks all at a time.
func (p *Peers) askOthers(ctx context.Context, others []*forwardingv1.Member, channelID string) []peerAnswer {
	answers := make([]peerAnswer, len(others))
	var asked sync.WaitGroup
	for i, member := range others {
		asked.Go(func() { answers[i].hostAnswer, answers[i].err = p.ask(ctx, member, channelID) })
	}
	asked.Wait()

	return answers
}

// rendezvous is how much a media server is worth for a channel (highest random weight).
func rendezvous(channelID, name string) []byte {
	sum := sha256.Sum256([]byte(channelID + "\x00" + name))

	return sum[:]
}
