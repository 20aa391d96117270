package peers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// key is what the manager of these tests gives all.
const key = "0123456789abcdef0123456789abcdef"

// plane is one manager, or as many as share one API server: who owns which channel.
type plane struct {
	mu     sync.Mutex
	owners map[string]string
	// openings are those that the owners have claimed the channels for.
	openings map[string]uint64
	members  map[string]*forwardingv1.Member
	away     bool
	// choice is whom Locate names where there is no owner; "": whoever asks.
	choice string
	// full is who may own no further channel, and refused counts those that asked and may not.
	full     string
	refused  int
	released []*forwardingv1.ReleaseRequest
	// claims, if set, holds up each claim, and locates each question.
	claims, locates chan struct{}
	// located counts the questions, and claiming the claims that were asked for.
	located, claiming atomic.Int64
}

func newPlane() *plane {
	return &plane{
		owners: make(map[string]string), openings: make(map[string]uint64), members: make(map[string]*forwardingv1.Member),
	}
}

func (p *plane) do(action func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	action()
}

func (p *plane) owner(channelID string) string {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.owners[channelID]
}

var errAPIAway = status.Error(codes.Unavailable, "the API server is away")

// Locate implements forwardingv1.PlacementClient.
func (p *plane) Locate(
	ctx context.Context, request *forwardingv1.LocateRequest, _ ...grpc.CallOption,
) (*forwardingv1.LocateResponse, error) {
	p.located.Add(1)
	if err := await(ctx, p.locates); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	owner, claimed := p.owners[request.GetChannelId()]
	switch {
	case claimed:
	case p.away:
		return nil, errAPIAway
	default:
		owner = p.choice
		if owner == "" {
			owner = request.GetMediaServer()
		}
		if p.members[owner].GetDraining() || slices.Contains(request.GetUnreachable(), owner) {
			for _, name := range slices.Sorted(maps.Keys(p.members)) {
				if !p.members[name].GetDraining() && !slices.Contains(request.GetUnreachable(), name) {
					owner = name
				}
			}
		}
	}

	return &forwardingv1.LocateResponse{MediaServer: p.members[owner], Claimed: claimed}, nil
}

// await waits for a gate, if there is one.
func await(ctx context.Context, gate <-chan struct{}) error {
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// Claim implements forwardingv1.PlacementClient.
func (p *plane) Claim(
	ctx context.Context, request *forwardingv1.ClaimRequest, _ ...grpc.CallOption,
) (*forwardingv1.ClaimResponse, error) {
	p.claiming.Add(1)
	if err := await(ctx, p.claims); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return nil, errAPIAway
	}
	id := request.GetChannelId()
	if p.owners[id] == "" {
		if p.members[request.GetMediaServer()].GetDraining() {
			p.refused++

			return nil, status.Error(codes.FailedPrecondition, "it drains")
		}
		if request.GetMediaServer() == p.full {
			return nil, errFull
		}
		p.owners[id], p.openings[id] = request.GetMediaServer(), 0
	}
	response := &forwardingv1.ClaimResponse{Owner: p.members[p.owners[id]]}
	if p.owners[id] == request.GetMediaServer() {
		p.openings[id] = max(p.openings[id], request.GetOpening())
		response.Opening = p.openings[id]
	}

	return response, nil
}

// Release implements forwardingv1.PlacementClient.
func (p *plane) Release(
	_ context.Context, request *forwardingv1.ReleaseRequest, _ ...grpc.CallOption,
) (*forwardingv1.ReleaseResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return nil, errAPIAway
	}
	p.released = append(p.released, request)
	for _, opening := range request.GetOpenings() {
		id := opening.GetChannelId()
		if p.owners[id] == request.GetMediaServer() && p.openings[id] <= opening.GetNumber() {
			delete(p.owners, id)
		}
	}

	return &forwardingv1.ReleaseResponse{}, nil
}

// node is a media server: its signalling and its peers, without media.
type node struct {
	*testing.T
	name      string
	plane     *plane
	peers     *peers.Peers
	signaling *signaling.Server
	server    *httptest.Server
	room      *room
	registry  *prometheus.Registry
	log       *transcript
	// deaf: it hears no manager.
	deaf atomic.Bool
}

// transcript is what a node has logged.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()

	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()

	return tr.text.String()
}

type nodeOptions struct {
	withoutClaim peers.WithoutClaim
	authority    auth.Authority
	signalingURL string
	bound        int
	pace         int
}

// start makes so many media servers that know each other.
func (p *plane) start(t *testing.T, names []string, o nodeOptions) []*node {
	t.Helper()
	nodes := make([]*node, len(names))
	for i, name := range names {
		nodes[i] = p.newNode(t, name, o)
	}
	p.introduce(nodes...)

	return nodes
}

func (p *plane) newNode(t *testing.T, name string, o nodeOptions) *node {
	t.Helper()
	n := &node{T: t, name: name, plane: p, room: newRoom(), registry: prometheus.NewRegistry(), log: &transcript{}}
	log := slog.New(
		slog.NewTextHandler(io.MultiWriter(t.Output(), n.log), &slog.HandlerOptions{Level: slog.LevelDebug}),
	).With("node", name)
	n.peers = peers.New(peers.Config{
		Namespace: "meetings", Name: name, WithoutClaim: o.withoutClaim, Log: log, Registerer: n.registry,
		Placements: func() []forwardingv1.PlacementClient {
			if n.deaf.Load() {
				return nil
			}

			return []forwardingv1.PlacementClient{p}
		},
	})
	n.signaling = signaling.NewServer(signaling.Config{
		Channels: n.room, Peers: n.peers, Authority: o.authority, Log: log, Registerer: n.registry,
		PingInterval: 500 * time.Millisecond, WriteTimeout: time.Second, MaxSocketsPerAddress: o.bound,
		MaxConnectsPerAddress: o.pace,
	})
	mux := http.NewServeMux()
	mux.Handle(peers.SignalingPath, n.signaling)
	mux.Handle("GET "+peers.Path, n.peers)
	n.server = httptest.NewUnstartedServer(mux)
	n.server.Listener = n.signaling.Bound(n.server.Listener)
	n.server.Start()
	member := &forwardingv1.Member{Name: name, PeerAddress: n.server.Listener.Addr().String()}
	if o.signalingURL != "" {
		member.SignalingUrl = n.url()
	}
	p.do(func() { p.members[name] = member })

	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.peers.Run(ctx) })
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.signaling.Shutdown(ending); err != nil {
			t.Errorf("shutting down %s: %v", name, err)
		}
		n.server.Close()
		stop()
		running.Wait()
		if hosted := n.peers.Hosted(); hosted != 0 {
			t.Errorf("%s hosts %d channels after the end", name, hosted)
		}
	})

	return n
}

// introduce tells media servers who there is.
func (p *plane) introduce(nodes ...*node) {
	p.mu.Lock()
	said := &forwardingv1.Members{Whole: true, Key: []byte(key), Set: slices.Collect(maps.Values(p.members))}
	p.mu.Unlock()
	for _, n := range nodes {
		n.peers.Members("manager", said)
	}
}

func (n *node) url() string { return "ws://" + n.server.Listener.Addr().String() + peers.SignalingPath }

// metric is the sum of a metric, of those with the label's value if one is given.
func (n *node) metric(name string, label ...string) (total float64) {
	n.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		n.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				if len(label) > 0 && m.GetLabel()[0].GetValue() != label[0] {
					continue
				}
				total += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}

	return total
}

// room is the channels of a node: who is in them.
type room struct {
	mu      sync.Mutex
	members map[string][]*seat
}

type seat struct {
	room    *room
	request signaling.Connect
	client  signaling.Client
	// candidates are the client's.
	candidates []string
}

func newRoom() *room { return &room{members: make(map[string][]*seat)} }

func (r *room) Join(_ context.Context, request signaling.Connect, client signaling.Client) (signaling.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &seat{room: r, request: request, client: client}
	r.members[request.ChannelID] = append(r.members[request.ChannelID], s)

	return s, nil
}

func (r *room) Counts(string) signaling.Counts { return signaling.Counts{} }

func (r *room) in(channelID string) []*seat {
	r.mu.Lock()
	defer r.mu.Unlock()

	return slices.Clone(r.members[channelID])
}

func (s *seat) Offer(context.Context) (signaling.Offer, error) {
	return signaling.Offer{SDP: "at " + s.request.ConnectionID, ConnectionID: s.request.ConnectionID}, nil
}

func (s *seat) Reoffer(context.Context) (string, error) { return "again", nil }
func (s *seat) Answer(context.Context, string) error    { return nil }
func (s *seat) Candidate(candidate string, _ *string, _ *uint16) error {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.candidates = append(s.candidates, candidate)

	return nil
}

// taken are the client's candidates so far.
func (s *seat) taken() []string {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()

	return slices.Clone(s.candidates)
}

func (s *seat) Leave(string) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	id := s.request.ChannelID
	s.room.members[id] = slices.DeleteFunc(s.room.members[id], func(other *seat) bool { return other == s })
}

// client is one WebSocket to a node.
type client struct {
	*testing.T
	socket *websocket.Conn
}

func (n *node) dial() *client {
	n.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, n.url(), nil) //nolint:bodyclose // The library closes it.
	if err != nil {
		n.Fatal(err)
	}
	socket.SetReadLimit(64 << 20)
	n.Cleanup(func() { _ = socket.CloseNow() })

	return &client{n.T, socket}
}

// connect says connect for a channel, with further fields.
func (n *node) connect(channelID, fields string) *client {
	n.Helper()
	c := n.dial()
	c.send(fmt.Sprintf(`{"type":"connect","role":"sendrecv","channel_id":%q%s}`, channelID, fields))

	return c
}

// join brings a client to its offer.
func (n *node) join(channelID, fields string) *client {
	n.Helper()
	c := n.connect(channelID, fields)
	c.receive("offer")

	return c
}

func (c *client) send(text string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.socket.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.Fatal(err)
	}
}

// receive returns the next message that is no ping, unless that is wanted.
func (c *client) receive(wanted string) map[string]any {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, text, err := c.socket.Read(ctx)
		if err != nil {
			c.Fatalf("waiting for %s: %v", wanted, err)
		}
		var message map[string]any
		if err := json.Unmarshal(text, &message); err != nil {
			c.Fatalf("%q: %v", text, err)
		}
		switch {
		case message["type"] == wanted:
			return message
		case message["type"] != "ping":
			c.Fatalf("received %.200s, want %s", text, wanted)
		}
	}
}

// closed waits for the close and checks code and reason.
func (c *client) closed(code int, reason string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.socket.Read(ctx)
		if err == nil {
			continue
		}
		got, ok := errors.AsType[websocket.CloseError](err)
		if !ok || int(got.Code) != code || got.Reason != reason {
			c.Fatalf("closed by %v, want %d %s", err, code, reason)
		}

		return
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// authority lets everybody in, under the name that it decides, and counts.
type authority struct {
	mu    sync.Mutex
	asked []auth.Request
	// gate, if set, is awaited.
	gate chan struct{}
}

func (a *authority) Decide(ctx context.Context, request auth.Request) (auth.Answer, error) {
	a.mu.Lock()
	a.asked = append(a.asked, request)
	a.mu.Unlock()
	if a.gate != nil {
		select {
		case <-a.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if strings.Contains(string(request.Metadata), "no") {
		return nil, &auth.Refusal{Reason: "not you"}
	}

	return auth.Answer{"client_id": json.RawMessage(`"decided"`)}, nil
}

func (a *authority) requests() []auth.Request {
	a.mu.Lock()
	defer a.mu.Unlock()

	return slices.Clone(a.asked)
}

// serveWith makes a media server that finds channels as told.
func serveWith(t *testing.T, finder signaling.Peers) *node {
	t.Helper()
	n := &node{T: t, room: newRoom(), registry: prometheus.NewRegistry()}
	n.signaling = signaling.NewServer(signaling.Config{
		Channels: n.room, Peers: finder, Registerer: n.registry, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	mux := http.NewServeMux()
	mux.Handle(peers.SignalingPath, n.signaling)
	n.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.signaling.Shutdown(ending); err != nil {
			t.Error(err)
		}
		n.server.Close()
	})

	return n
}
