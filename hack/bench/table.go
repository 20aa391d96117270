//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// tableServer is a manager without Kubernetes: its one table never changes.
type tableServer struct {
	forwardingv1.UnimplementedForwardingServer
	address string
	server  *grpc.Server
	serving sync.WaitGroup
	pauses  []*forwardingv1.Pause
}

// serveTables serves one pause for each paused receiver of the case.
func serveTables(ctx context.Context, c scenario) (*tableServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the media server: %w", err)
	}
	t := &tableServer{address: listener.Addr().String(), server: grpc.NewServer()}
	for i := c.receivers - c.paused; i < c.receivers; i++ {
		t.pauses = append(t.pauses, &forwardingv1.Pause{
			Uid: fmt.Sprintf("uid-%04d", i), Generation: 1, RecvClientId: pausedClientID(i),
			Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		})
	}
	slices.SortFunc(t.pauses, func(a, b *forwardingv1.Pause) int { return strings.Compare(a.GetUid(), b.GetUid()) })
	forwardingv1.RegisterForwardingServer(t.server, t)
	t.serving.Go(func() { _ = t.server.Serve(listener) }) // Ends at stop.
	return t, nil
}

// stop may be called on nil: most cases need no tables.
func (t *tableServer) stop() {
	if t != nil {
		t.server.Stop()
		t.serving.Wait()
	}
}

// Subscribe answers each report with the channel's table.
func (t *tableServer) Subscribe(stream forwardingv1.Forwarding_SubscribeServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		var response *forwardingv1.SubscribeResponse
		switch {
		case request.GetReport() != nil:
			response = &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: &forwardingv1.Table{
				ChannelId: request.GetReport().GetChannelId(), Version: 1, Pauses: t.pauses,
			}}}
		case request.GetComplete() != nil:
			response = &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{
				ReplicaVersion: &forwardingv1.ReplicaVersion{Version: 1},
			}}
		default:
			continue
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}
