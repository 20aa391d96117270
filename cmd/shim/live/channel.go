package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// grace is how long a connection may be unknown before it counts as not
	// there: its media server's report and the caller's request may race.
	grace = 250 * time.Millisecond
	// askInterval is the pause between two questions to one replica within grace.
	askInterval = 25 * time.Millisecond
	// maxChannelBytes is the longest name a channel can have; nobody is in a
	// longer one, and managers refuse the question.
	maxChannelBytes = 255
	// answerTimeout bounds the wait while no replica has answered at all.
	answerTimeout = 2 * time.Second
)

// ErrNoReplica is returned when no manager replica answered.
var ErrNoReplica = errors.New("no manager replica answered")

// Channel is who is connected to a channel: what all replicas know together.
type Channel struct {
	connections map[string]*forwardingv1.Connection
}

// Empty tells whether nobody is in the channel.
func (c Channel) Empty() bool { return len(c.connections) == 0 }

// Connection returns the connection with the id, nil when there is none.
func (c Channel) Connection(id string) *forwardingv1.Connection { return c.connections[id] }

// Connections returns all, ordered by creation, then id.
func (c Channel) Connections() []*forwardingv1.Connection {
	return slices.SortedFunc(maps.Values(c.connections), func(a, b *forwardingv1.Connection) int {
		if order := a.GetCreatedTime().AsTime().Compare(b.GetCreatedTime().AsTime()); order != 0 {
			return order
		}
		return strings.Compare(a.GetConnectionId(), b.GetConnectionId())
	})
}

// Channel asks every replica once who is in the channel. It waits for the slower
// replicas no longer than 250 ms once one has answered.
func (r *Replicas) Channel(ctx context.Context, namespace, channelID string) (Channel, error) {
	return r.ask(ctx, namespace, channelID, nil)
}

// ChannelWith asks until the replicas together know all of the connections, at
// most 250 ms while they answer. The channel returned may lack some then.
func (r *Replicas) ChannelWith(ctx context.Context, namespace, channelID string, connectionIDs ...string) (Channel, error) {
	return r.ask(ctx, namespace, channelID, connectionIDs)
}

// answer is what one replica said.
type answer struct {
	replica     string
	connections []*forwardingv1.Connection
	err         error
}

func (r *Replicas) ask(ctx context.Context, namespace, channelID string, wanted []string) (Channel, error) {
	if channelID == "" || len(channelID) > maxChannelBytes {
		return Channel{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()

	views := r.views()
	if len(views) == 0 {
		return Channel{}, fmt.Errorf("%w: none of %s has an address", ErrNoReplica, strings.Join(r.managers, ", "))
	}
	request := &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: channelID}
	answers := make(chan answer)
	for replica, view := range views {
		asking.Go(func() { askReplica(ctx, replica, view, request, len(wanted) > 0, answers) })
	}
	return gather(ctx, len(views), wanted, answers)
}

// askReplica asks one replica, again and again when repeat is set, until ctx ends.
func askReplica(ctx context.Context, replica string, view forwardingv1.ViewClient, request *forwardingv1.ConnectionsRequest, repeat bool, answers chan<- answer) {
	for {
		response, err := view.Connections(ctx, request, grpc.WaitForReady(false))
		select {
		case answers <- answer{replica, response.GetConnections(), err}:
		case <-ctx.Done():
			return
		}
		if !repeat {
			return
		}
		select {
		case <-time.After(askInterval):
		case <-ctx.Done():
			return
		}
	}
}

// gather merges answers until they hold every wanted connection, or until more
// waiting cannot be expected to help.
func gather(ctx context.Context, replicas int, wanted []string, answers <-chan answer) (Channel, error) {
	known := map[string][]*forwardingv1.Connection{}
	spoken := map[string]bool{}
	var lastError error
	graceOver := false
	graceTimer := time.NewTimer(grace)
	defer graceTimer.Stop()

	for {
		select {
		case a := <-answers:
			spoken[a.replica] = true
			if a.err != nil {
				lastError = a.err
			} else {
				known[a.replica] = a.connections
			}
		case <-graceTimer.C:
			graceOver = true
		case <-ctx.Done():
			if len(known) > 0 {
				return merge(known), nil
			}
			return Channel{}, errors.Join(ErrNoReplica, ctx.Err(), lastError)
		}

		channel := merge(known)
		everybody := len(spoken) == replicas
		switch {
		case len(wanted) > 0 && channel.holds(wanted):
			return channel, nil
		case len(wanted) == 0 && everybody && len(known) > 0:
			return channel, nil
		case graceOver && len(known) > 0:
			return channel, nil
		case everybody && len(known) == 0 && (graceOver || len(wanted) == 0):
			return Channel{}, errors.Join(ErrNoReplica, lastError)
		}
	}
}

// merge unites what the replicas know. Where two describe one connection, either
// description is true: both came from the same media server.
func merge(known map[string][]*forwardingv1.Connection) Channel {
	channel := Channel{connections: map[string]*forwardingv1.Connection{}}
	for _, connections := range known {
		for _, connection := range connections {
			channel.connections[connection.GetConnectionId()] = connection
		}
	}
	return channel
}

func (c Channel) holds(connectionIDs []string) bool {
	for _, id := range connectionIDs {
		if c.connections[id] == nil {
			return false
		}
	}
	return true
}
