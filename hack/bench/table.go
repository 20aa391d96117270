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
		receiver := &forwardingv1.IDs{Ids: []string{pausedClientID(i)}}
		pause := &forwardingv1.Pause{
			Uid:       fmt.Sprintf("uid-%04d", i),
			Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: receiver}},
			Senders:   &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
			Kinds:     []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		}
		sum := pause.Sum()
		pause.Digest = sum[:]
		t.pauses = append(t.pauses, pause)
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

// Subscribe answers the first report of each channel with its table.
func (t *tableServer) Subscribe(stream forwardingv1.Forwarding_SubscribeServer) error {
	answered := map[string]uint64{} // Instances, by channel.
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		response := &forwardingv1.SubscribeResponse{}
		switch report := request.GetReport(); {
		case request.GetHello() != nil:
			response.Message = &forwardingv1.SubscribeResponse_Welcome{Welcome: &forwardingv1.Welcome{}}
		case report != nil && !report.GetClosed() && !report.GetMore() &&
			answered[report.GetChannelId()] != report.GetInstance():
			answered[report.GetChannelId()] = report.GetInstance()
			response.Message = &forwardingv1.SubscribeResponse_Table{Table: &forwardingv1.Table{
				ChannelId: report.GetChannelId(), Instance: report.GetInstance(), Version: 1, Set: t.pauses,
			}}
		case request.GetComplete() != nil:
			response.Message = &forwardingv1.SubscribeResponse_ReplicaVersion{
				ReplicaVersion: &forwardingv1.ReplicaVersion{Version: 1},
			}
		default:
			continue
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}
