//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nagi-rtc/nagi/internal/ports"
)

// server is one way of forwarding that is measured.
type server struct {
	name     string
	protocol string // How clients join: sora, livekit, janus or plain.
	plain    bool   // No signalling and no SRTP from the sender: a floor.
	start    func(ctx context.Context, directory string, c scenario) (running, error)
}

// running is a started server.
type running struct {
	process *process
	address string
	metrics string // host:port of its Prometheus page; empty: it has none.
	close   func()
}

func (r running) stop() {
	r.process.stop()
	if r.close != nil {
		r.close()
	}
}

func serverNames() []string {
	return []string{"nagi", "livekit", "livekit-batch", "janus", "floor-sendto", "floor-sendmmsg", "floor-gso"}
}

// chooseServers leaves Janus out, and says so, where it is not installed; all
// other programs are built by the Makefile.
func chooseServers(o options) ([]server, error) {
	var chosen []server
	for _, name := range o.servers {
		switch name {
		case "nagi":
			path, err := program(o.root, "bin/mediaserver")
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, server{name: name, protocol: "sora", start: startNagi(path)})
		case "livekit", "livekit-batch":
			path, err := program(o.root, "bin/bench/server")
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, server{name: name, protocol: "livekit", start: startLiveKit(path, name == "livekit-batch")})
		case "janus":
			if o.noJanus != nil {
				fmt.Fprintln(os.Stderr,
					"bench: janus is skipped: it takes no loopback addresses, and here is no network namespace for it:", o.noJanus)

				continue
			}
			path, err := exec.LookPath("janus")
			if err != nil {
				fmt.Fprintln(os.Stderr, "bench: janus is skipped: it is not installed (Debian: apt-get install janus)")

				continue
			}
			chosen = append(chosen, server{name: name, protocol: "janus", start: startJanus(path)})
		case "floor-sendto", "floor-sendmmsg", "floor-gso":
			chosen = append(chosen, server{
				name: name, protocol: "plain", plain: true, start: startFloor(strings.TrimPrefix(name, "floor-")),
			})
		default:
			return nil, fmt.Errorf("--servers: no server %q; there are %s", name, strings.Join(serverNames(), ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("--servers: none of them can run here")
	}

	return chosen, nil
}

func program(root, path string) (string, error) {
	full, err := filepath.Abs(filepath.Join(root, path))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	if _, err := os.Stat(full); err != nil {
		return "", fmt.Errorf("find %s: %w; `make bench-forwarding` builds it", path, err)
	}

	return full, nil
}

func startNagi(path string) func(context.Context, string, scenario) (running, error) {
	return func(ctx context.Context, _ string, c scenario) (running, error) {
		manager := "127.0.0.1:1" // Nobody is there: no control plane.
		var tables *tableServer
		if c.paused > 0 {
			var err error
			if tables, err = serveTables(ctx, c); err != nil {
				return running{}, err
			}
			manager = tables.address
		}
		wait := "--table-wait=0"
		if tables != nil {
			wait = "--table-wait=2s"
		}
		workers, err := workersFlag(ctx, path, c)
		if err != nil {
			tables.stop()

			return running{}, err
		}
		arguments := append(workers, "--managers="+manager, wait, "--without-table=forward",
			"--listen=127.0.0.1:0", "--media-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")
		//nolint:gosec // The path is one of this repository's own programs.
		command := exec.CommandContext(context.WithoutCancel(ctx), path, arguments...)
		command.Env = append(os.Environ(), c.environment...)
		p, err := startPinned(c.core(), command)
		if err != nil {
			tables.stop()

			return running{}, err
		}
		r := running{process: p, close: tables.stop}
		r.address, err = p.output.find(ctx, `what=signaling address=(\S+)`)
		if err == nil {
			r.metrics, err = p.output.find(ctx, `what=metrics address=(\S+)`)
		}
		if err != nil {
			r.stop()

			return running{}, err
		}

		return r, nil
	}
}

// workersFlag is always said, since the default goes by the number of cores; but
// an older media server knows no such flag and has one worker.
func workersFlag(ctx context.Context, path string, c scenario) ([]string, error) {
	//nolint:gosec // The path is one of this repository's own programs.
	help, err := exec.CommandContext(ctx, path, "--help").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its flags: %w: %s", path, err, help)
	}
	workers := max(1, c.workers)
	if !bytes.Contains(help, []byte("--media-workers")) {
		if workers > 1 {
			return nil, fmt.Errorf("%s has no --media-workers: it has one worker only; build a newer one", path)
		}

		return nil, nil
	}

	return []string{fmt.Sprintf("--media-workers=%d", workers)}, nil
}

func startLiveKit(path string, batch bool) func(context.Context, string, scenario) (running, error) {
	return func(ctx context.Context, directory string, c scenario) (running, error) {
		media, err := freePort(ctx)
		if err != nil {
			return running{}, err
		}
		signaling, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			return running{}, err
		}
		batchIO := ""
		if batch {
			batchIO = "  batch_io:\n    batch_size: 128\n    max_flush_interval: 2ms\n"
		}
		config := fmt.Sprintf(`port: %d
bind_addresses: [127.0.0.1]
keys:
  %s: %s
logging:
  level: error
rtc:
  udp_port: %d
  tcp_port: 0
  node_ip: 127.0.0.1
  use_external_ip: false
  enable_loopback_candidate: true
  congestion_control:
    enabled: false
%s`, signaling.Address().Port, liveKitKey, liveKitSecret, media, batchIO)
		file := filepath.Join(directory, "livekit.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return running{}, fmt.Errorf("write LiveKit's configuration: %w", err)
		}

		return startListening(ctx, c.core(), signaling,
			exec.CommandContext(context.WithoutCancel(ctx), path, "--config", file))
	}
}

// unusedPlugins and unusedTransports are what Janus is not to load: all but the video room by WebSocket.
const (
	unusedPlugins = "libjanus_audiobridge.so,libjanus_echotest.so,libjanus_lua.so,libjanus_duktape.so,libjanus_nosip.so," +
		"libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so," +
		"libjanus_voicemail.so"
	unusedTransports = "libjanus_http.so,libjanus_pfunix.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_rabbitmq.so"
)

// startJanus cannot confine Janus' media sockets to loopback addresses, which it
// skips whatever its configuration says. Load belongs on no address of a real
// network, so Janus runs in a network namespace of the benchmark's own only.
func startJanus(path string) func(context.Context, string, scenario) (running, error) {
	return func(ctx context.Context, directory string, c scenario) (running, error) {
		signaling, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			return running{}, err
		}
		files := map[string]string{
			"janus.jcfg": fmt.Sprintf(`general: { configs_folder = "%s" debug_level = 2 protected_folders = [] }
media: { rtp_port_range = "20000-40000" }
nat: { ignore_mdns = true }
plugins: { disable = "%s" }
transports: { disable = "%s" }
`, directory, unusedPlugins, unusedTransports),
			"janus.transport.websockets.jcfg": fmt.Sprintf(
				"general: { ws = true ws_ip = \"127.0.0.1\" ws_port = %d ws_logging = \"\" }\n", signaling.Address().Port,
			),
			"janus.plugin.videoroom.jcfg": "general: {}\n",
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
				return running{}, fmt.Errorf("write Janus' configuration: %w", err)
			}
		}

		return startListening(ctx, c.core(), signaling, exec.CommandContext(context.WithoutCancel(ctx), path,
			"--config="+filepath.Join(directory, "janus.jcfg"), "--configs-folder="+directory))
	}
}

func startFloor(mode string) func(context.Context, string, scenario) (running, error) {
	return func(ctx context.Context, _ string, _ scenario) (running, error) {
		self, err := os.Executable()
		if err != nil {
			return running{}, fmt.Errorf("find the own program: %w", err)
		}
		p, err := startPinned(serverCore, exec.CommandContext(context.WithoutCancel(ctx), self, "floor", mode))
		if err != nil {
			return running{}, err
		}
		r := running{process: p}
		r.address, err = p.output.find(ctx, `listening address=(\S+)`)
		if err == nil {
			r.metrics, err = p.output.find(ctx, `metrics=(\S+)`)
		}
		if err != nil {
			r.stop()

			return running{}, err
		}

		return r, nil
	}
}

// startListening starts a server and waits until its TCP port answers.
func startListening(ctx context.Context, core int, signaling *ports.Held, command *exec.Cmd) (running, error) {
	p, err := startPinned(core, command)
	if err != nil {
		return running{}, errors.Join(err, signaling.Close())
	}
	r := running{process: p, address: signaling.Address().String(), close: func() { _ = signaling.Close() }}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address)
		if err == nil {
			return r, connection.Close()
		}
		select {
		case <-p.exited:
			r.close()

			return running{}, fmt.Errorf("%s ended at once: %s", command.Path, p.output)
		case <-ctx.Done():
			r.stop()

			return running{}, fmt.Errorf("%s never listened at %s: %s", command.Path, r.address, p.output)
		case <-tick.C:
		}
	}
}

// freePort is a UDP port of loopback that nobody had just now, for programs that cannot be
// told to choose their own.
func freePort(ctx context.Context) (int, error) {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	address, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return 0, errors.Join(errors.New("find a free port: not a UDP address"), conn.Close())
	}

	return address.Port, conn.Close()
}
