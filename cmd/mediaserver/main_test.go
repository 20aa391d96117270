package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/internal/ops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlagsAreChecked(t *testing.T) {
	for argument, want := range map[string]string{
		"--namespace=":                     "--namespace",
		"--managers=nowhere":               "--managers",
		"--managers=":                      "--managers",
		"--listen=5000":                    "--listen",
		"--media-listen=x":                 "--media-listen",
		"--metrics-listen=x":               "--metrics-listen",
		"--media-workers=0":                "--media-workers",
		"--media-workers=1000":             "--media-workers",
		"--table-wait=-1s":                 "--table-wait",
		"--without-table=drop":             "--without-table",
		"--public-address=media.example":   "--public-address",
		"--public-address=192.0.2.1:":      "--public-address",
		"--public-address=192.0.2.1:0":     "--public-address",
		"--public-address=2001:db8::1:z":   "--public-address",
		"--max-sockets=0":                  "--max-sockets",
		"--max-sockets-per-address=-1":     "--max-sockets-per-address",
		"--max-channels=0":                 "--max-channels",
		"--max-channel-connections=1e9":    "--max-channel-connections",
		"--max-channels=1000001":           "--max-channels",
		"--max-channel-connections=1":      "",
		"--max-connects-per-address=0":     "--max-connects-per-address",
		"--auth-webhook-timeout=0s":        "--auth-webhook-timeout",
		"--auth-webhook-timeout=31s":       "--auth-webhook-timeout",
		"--auth-audience=nagi":             "give --auth-jwks-file too",
		"--auth-issuer=app":                "give --auth-jwks-file too",
		"--listen=0.0.0.0:5000":            "--allow-anonymous-clients lets everybody in",
		"--listen=:5000":                   "--auth-webhook-url or --auth-jwks-file",
		"--listen=[::1]:5000":              "",
		"--listen=localhost:5000":          "",
		"--auth-webhook-url=http://x":      "",
		"--auth-jwks-file=keys":            "",
		"--allow-anonymous-clients":        "",
		"--peer-address=nowhere":           "--peer-address",
		"--peer-address=10.0.0.7:0":        "--peer-address",
		"--peer-address=:5000":             "--peer-address",
		"--peer-address=[fd00::7]:5000":    "",
		"--signaling-url=http://a.example": "--signaling-url",
		"--signaling-url=wss://u:p@a/":     "--signaling-url",
		"--signaling-url=wss://a.example/": "",
		"--signaling-url=":                 "",
		"--without-claim=hold":             "--without-claim",
		"--without-claim=refuse":           "",
		"--drain-timeout=-1s":              "--drain-timeout",
		"--drain-timeout=1h":               "",
		"--drain-at-least=-1s":             "--drain-at-least",
		"--drain-at-least=5s":              "",
		"extra":                            "no flag",
		"--public-address=192.0.2.1,::1":   "",
		"--public-address=192.0.2.1:5004":  "",
		"--public-address=[::1]:5004":      "",
		"--table-wait=0s":                  "",
		"--media-workers=2":                "",
		"--without-table=hold":             "",
		"--managers=localhost:1,[::1]:300": "",
		"--managers=a.example:1":           "--manager-ca",
		"--manager-ca=/nowhere":            "--token-file",
	} {
		_, err := parse([]string{argument})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want one with %q", argument, err, want)
		}
	}
}

// What clients cannot reach is refused when the media server starts, with the flags that mend it.
// A ConfigMap has the address of each media server.
func TestAddressesMayBeInAFile(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"192.0.2.1\n": "192.0.2.1:0", "[2001:db8::1]:5004": "[2001:db8::1]:5004", "": "", "media.example": "",
	} {
		path := filepath.Join(dir, "nagi-mediaserver-0")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := parse([]string{"--public-address=" + path})
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "--public-address") {
				t.Errorf("%q: %v", text, err)
			}

			continue
		}
		if err != nil || len(o.publicAddresses) != 1 || o.publicAddresses[0].String() != want {
			t.Errorf("%q: %v, %v; want %s", text, o.publicAddresses, err, want)
		}
	}
	if _, err := parse([]string{"--public-address=" + filepath.Join(dir, "absent")}); err == nil ||
		!strings.Contains(err.Error(), "write the address") {
		t.Errorf("no file: %v", err)
	}
}

func TestUnreachableAddressesAreRefused(t *testing.T) {
	for _, test := range []struct{ listen, public, want string }{
		{"127.0.0.1:0", "::1", "hears no IPv6"},
		{"127.0.0.1:0", "192.0.2.1", "hears this machine alone"},
		{"[::1]:0", "127.0.0.1", "hears no IPv4"},
		{"0.0.0.0:0", "0.0.0.0", "give a unicast address"},
		{"[::]:0", "fe80::1%lo", "link-local"},
		{"[::]:0", "192.0.2.1:443,2001:db8::1", ""},
	} {
		o, err := parse([]string{"--media-listen=" + test.listen, "--public-address=" + test.public})
		if err != nil {
			t.Fatal(err)
		}
		engine, err := listenMedia(o, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err == nil {
			err = engine.Close()
		} else if !strings.Contains(err.Error(), "--media-listen and --public-address") {
			t.Errorf("%v names no flag", err)
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("--media-listen=%s --public-address=%s: %v, want %q", test.listen, test.public, err, test.want)
		}
	}
}

// manager answers every report with an empty table and hands on the reports. One that
// is behind the API server, and beyond a bound, refuses them.
type manager struct {
	forwardingv1.UnimplementedForwardingServer
	reports chan *forwardingv1.ChannelReport
	behind  bool
}

func (m *manager) Subscribe(
	call grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse],
) error {
	for {
		request, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		response := &forwardingv1.SubscribeResponse{}
		switch {
		case request.GetReport() != nil && m.behind:
			response.Message = &forwardingv1.SubscribeResponse_Refusal{
				Refusal: &forwardingv1.Refusal{ChannelId: request.GetReport().GetChannelId(), Reason: "too many channels"},
			}
		case request.GetReport() != nil:
			m.reports <- request.GetReport()
			response.Message = &forwardingv1.SubscribeResponse_Table{
				Table: &forwardingv1.Table{
					ChannelId: request.GetReport().GetChannelId(), Instance: request.GetReport().GetInstance(), Version: 1,
				},
			}
		case request.GetComplete() != nil:
			response.Message = &forwardingv1.SubscribeResponse_ReplicaVersion{
				ReplicaVersion: &forwardingv1.ReplicaVersion{Version: 1, Stale: m.behind},
			}
		default:
			continue
		}
		if err := call.Send(response); err != nil {
			return err
		}
	}
}

// addresses is a log that hands on what listens where.
type addresses struct{ found chan [2]string }

func (a addresses) Write(line []byte) (int, error) {
	var what, address string
	for _, field := range strings.Fields(string(line)) {
		if value, ok := strings.CutPrefix(field, "what="); ok {
			what = value
		}
		if value, ok := strings.CutPrefix(field, "address="); ok {
			address = value
		}
	}
	if what != "" {
		a.found <- [2]string{what, address}
	}

	return len(line), nil
}

// started is a media server that runs under a manager.
type started struct {
	at    map[string]string // the addresses of its listeners
	end   context.CancelFunc
	ended chan error
}

func start(t *testing.T, m *manager, more ...string) started {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	forwardingv1.RegisterForwardingServer(grpcServer, m)
	go func() { _ = grpcServer.Serve(listener) }()
	t.Cleanup(grpcServer.Stop)

	o, err := parse(append([]string{
		"--managers=" + listener.Addr().String(), "--name=sfu-0",
		"--listen=127.0.0.1:0", "--media-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
	}, more...))
	if err != nil {
		t.Fatal(err)
	}
	log := addresses{found: make(chan [2]string, 16)}
	s := started{at: make(map[string]string), ended: make(chan error, 1)}
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	s.end = end
	go func() { s.ended <- run(ctx, o, slog.New(slog.NewTextHandler(log, nil))) }()
	for len(s.at) < 3 {
		found := receive(t, log.found)
		s.at[found[0]] = found[1]
	}
	s.waitReady(t)

	return s
}

// join has a client begin to join a channel.
func (s started) join(t *testing.T) *websocket.Conn {
	t.Helper()
	socket, response, err := websocket.Dial(t.Context(), "ws://"+s.at[ops.Signaling]+"/signaling", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.CloseNow() })
	if response.Body != nil {
		_ = response.Body.Close()
	}
	connect := `{"type":"connect","role":"sendrecv","channel_id":"sora","sora_client":"test","multistream":true,` +
		`"audio":true,"video":true}`
	if err := socket.Write(t.Context(), websocket.MessageText, []byte(connect)); err != nil {
		t.Fatal(err)
	}

	return socket
}

// What does not act is told beside readiness, which stays: nobody is sent away whose
// media is well.
func TestReadinessTellsWhatDoesNotAct(t *testing.T) {
	s := start(t, &manager{behind: true})
	s.waitReady(t, "no manager vouches for the tables since ", "does not hear from the API server")
	socket := s.join(t)
	s.waitReady(t, "no manager vouches for the tables since ", `channel "sora" by the manager `, "too many channels")
	s.end()
	for closed := error(nil); closed == nil; {
		_, _, closed = socket.Read(t.Context())
	}
	if err := receive(t, s.ended); err != nil {
		t.Errorf("the graceful end: %v", err)
	}
}

// A client joins and the process is told to end: the client is told why, and the
// manager learns that the channel is empty.
func TestGracefulEndTellsClientsAndManagers(t *testing.T) {
	m := &manager{reports: make(chan *forwardingv1.ChannelReport, 16)}
	s := start(t, m)
	socket := s.join(t)
	if _, message, err := socket.Read(t.Context()); err != nil || !strings.Contains(string(message), `"offer"`) {
		t.Fatalf("the first message is %s, error %v; want an offer", message, err)
	}
	if report := receive(t, m.reports); report.GetChannelId() != "sora" || len(report.GetJoined()) != 1 {
		t.Errorf("reported %v, want one connection in sora", report)
	}

	s.end()
	var err error
	for err == nil {
		_, _, err = socket.Read(t.Context())
	}
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client was closed with %v, want 1001", err)
	}
	if err := receive(t, s.ended); err != nil {
		t.Errorf("the graceful end: %v", err)
	}
	var last *forwardingv1.ChannelReport
	for len(m.reports) > 0 {
		last = <-m.reports
	}
	if !last.GetClosed() {
		t.Errorf("the manager's last report is %v, want the end of the channel", last)
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(20 * time.Second):
		t.Fatalf("waited 20 s for a %T", *new(T))
		panic("unreachable")
	}
}

// waitReady asks until the probe says ready, and each of the words.
func (s started) waitReady(t *testing.T, words ...string) {
	t.Helper()
	url := "http://" + s.at[ops.Metrics] + "/readyz"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(10 * time.Second); ; {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		missing := func(word string) bool { return !strings.Contains(string(body), word) }
		if response.StatusCode == http.StatusOK && !slices.ContainsFunc(words, missing) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready within 10 s, or without %q: %d %s", words, response.StatusCode, body)
		}
		<-time.After(10 * time.Millisecond)
	}
}
