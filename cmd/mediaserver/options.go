package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
)

// maxMediaWorkers is more than one process ever has use for.
const maxMediaWorkers = 256

// maxBound of sockets and channels is more than one process can have.
const maxBound = 1_000_000

type options struct {
	namespace, name                    string
	managers                           []string
	credentials                        managers.Credentials
	listen, mediaListen, metricsListen string
	mediaWorkers                       int
	publicAddresses                    []netip.AddrPort // Port 0 stands for that of mediaListen.
	iceServersFile                     string
	tableWait                          time.Duration
	withoutTable                       channel.WithoutTable
	shimURL                            string
	maxSockets, maxSocketsPerAddress   int
	maxChannels, maxChannelConnections int
	maxConnectsPerAddress              int
	auth                               authOptions
	peers                              peersOptions
}

func parse(arguments []string) (options, error) {
	var o options
	var publicAddresses []string
	var withoutTable string
	flags := pflag.NewFlagSet("mediaserver", pflag.ContinueOnError)
	ops.Help(flags,
		"Takes clients in by Sora's signalling, forwards their media, and withholds what RtpStreamPause objects pause.",
		[2]string{"On this machine, for everybody here, with a manager at 127.0.0.1:7300:", "--namespace=meetings"},
		[2]string{"For clients anywhere who have a token of yours, behind a NAT:", "--listen=:5000 --media-listen=:5004 " +
			"--public-address=198.51.100.7 --auth-jwks-file=jwks.json"},
		[2]string{"In a cluster, as config/mediaserver has it:",
			"--namespace=meetings --listen=:5000 --peer-address=10.0.0.7:5000 --drain-timeout=1m --drain-at-least=5s " +
				"--media-listen=:5004 --auth-jwks-file=/var/run/nagi/client-keys/jwks.json " +
				"--managers=nagi-manager.nagi-system.svc:7300 --manager-ca=/var/run/nagi/ca/ca.crt " +
				"--token-file=/var/run/secrets/nagi/token"},
	)
	flags.StringVar(&o.namespace, "namespace", "default", "namespace whose pauses act here")
	flags.StringVar(&o.name, "name", "",
		"name of this media server, unique in its namespace and stable over restarts; empty: the host's name")
	flags.StringSliceVar(&o.managers, "managers", []string{"127.0.0.1:7300"},
		"host:port of every manager; a name stands for all of its addresses and is looked up again every 5 s")
	flags.StringVar(&o.credentials.CAFile, "manager-ca", "",
		"file of the certificates that sign the managers', such as ca.crt of the ConfigMap nagi-ca; it may change; "+
			"empty: plaintext to managers on loopback")
	flags.StringVar(&o.credentials.TokenFile, "token-file", "",
		"file with the token that managers are shown: a projected ServiceAccount token with the audience nagi; it may change")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:5000", "host:port of signalling (/signaling) and of the page (/)")
	flags.StringVar(&o.mediaListen, "media-listen", "127.0.0.1:5004", "host:port of UDP for all media")
	flags.IntVar(&o.mediaWorkers, "media-workers", runtime.GOMAXPROCS(0), "how many cores forward media at most")
	flags.StringSliceVar(&publicAddresses, "public-address", nil,
		"IP or IP:PORT under which clients reach the media socket, when it is not this machine's own address and port, "+
			"or the path of a file with one; may be repeated")
	flags.StringVar(&o.iceServersFile, "ice-servers-file", "",
		"file with an RTCConfiguration in JSON, of which clients are told iceServers and iceTransportPolicy, "+
			"for a TURN gateway before the media socket; read again when it changes; empty: they need none")
	flags.DurationVar(&o.tableWait, "table-wait", 2*time.Second,
		"how long the media of new edges is held while the channel's pauses are not known yet")
	flags.StringVar(&withoutTable, "without-table", string(channel.Forward),
		"what becomes of that media afterwards: forward or hold")
	flags.IntVar(&o.maxSockets, "max-sockets", 20_000,
		"how many signalling WebSockets there may be; one more is answered 503")
	flags.IntVar(&o.maxSocketsPerAddress, "max-sockets-per-address", 1_000,
		"how many of them may come from one IPv4 address or IPv6 /64, which clients behind one proxy or NAT share; "+
			"one more is answered 429")
	flags.IntVar(&o.maxConnectsPerAddress, "max-connects-per-address", 100,
		"how many of them an address may open in a second, and ten times as many at once; one more is answered 429")
	o.auth.flags(flags)
	o.peers.flags(flags)
	flags.IntVar(&o.maxChannels, "max-channels", 10_000,
		"how many channels there may be; whoever would open one more is closed with TOO-MANY-CHANNELS")
	flags.IntVar(&o.maxChannelConnections, "max-channel-connections", 1_000,
		"how many connections a channel may have; one more is closed with CHANNEL-FULL")
	flags.StringVar(&o.shimURL, "shim-url", "http://127.0.0.1:3000",
		"where browsers that have the page open reach the shim")
	flags.StringVar(&o.metricsListen, "metrics-listen", "127.0.0.1:9303", "host:port of /metrics, /healthz and /readyz")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag: the media server takes flags only, --help lists them", flags.Arg(0))
	}
	o.withoutTable = channel.WithoutTable(withoutTable)
	var err error
	if o.publicAddresses, err = parseAddresses(publicAddresses); err != nil {
		return o, err
	}
	if o.name == "" {
		if o.name, err = os.Hostname(); err != nil {
			return o, fmt.Errorf("ask for the host's name: %w; name the media server with --name", err)
		}
	}

	return o, o.check()
}

func (o options) check() error {
	if o.namespace == "" {
		return errors.New("--namespace is empty: name the namespace of the tenant")
	}
	if err := o.credentials.Check(o.managers); err != nil {
		return err
	}
	for flag, address := range map[string]string{
		"--listen": o.listen, "--media-listen": o.mediaListen, "--metrics-listen": o.metricsListen,
	} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%s: %w; write host:port, such as 127.0.0.1:0", flag, err)
		}
	}
	if o.mediaWorkers < 1 || o.mediaWorkers > maxMediaWorkers {
		return fmt.Errorf("--media-workers=%d: give a number from 1 to %d; more than there are cores is of no use",
			o.mediaWorkers, maxMediaWorkers)
	}
	for flag, most := range map[string]int{
		"--max-sockets": o.maxSockets, "--max-sockets-per-address": o.maxSocketsPerAddress,
		"--max-connects-per-address": o.maxConnectsPerAddress,
		"--max-channels":             o.maxChannels, "--max-channel-connections": o.maxChannelConnections,
	} {
		if most < 1 || most > maxBound {
			return fmt.Errorf("%s=%d: give a number from 1 to %d", flag, most, maxBound)
		}
	}
	if o.tableWait < 0 {
		return fmt.Errorf("--table-wait=%v: give 0 or a positive duration such as 2s", o.tableWait)
	}
	if o.withoutTable != channel.Forward && o.withoutTable != channel.Hold {
		return fmt.Errorf("--without-table=%s: write %s or %s", o.withoutTable, channel.Forward, channel.Hold)
	}

	if err := o.peers.check(); err != nil {
		return err
	}

	return o.auth.check(o.listen)
}

// maxAddressFile is more than an address takes, in bytes.
const maxAddressFile = 1 << 10

// readAddress reads a file with an address, as a ConfigMap has one for each media server.
func readAddress(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--public-address=%s: %w; write the address that clients reach this media server at into it, "+
			"such as 192.0.2.1", path, err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxAddressFile))
	if err != nil {
		return "", fmt.Errorf("--public-address=%s: %w", path, err)
	}

	return strings.TrimSpace(string(text)), nil
}

// parseAddresses reads addresses with and without a port. Whether the media socket can be reached by them shows when
// it is open.
func parseAddresses(texts []string) ([]netip.AddrPort, error) {
	addresses := make([]netip.AddrPort, 0, len(texts))
	for _, text := range texts {
		if strings.HasPrefix(text, "/") {
			var err error
			if text, err = readAddress(text); err != nil {
				return nil, err
			}
		}
		address, err := netip.ParseAddrPort(text)
		if err == nil && address.Port() == 0 {
			err = errors.New("port 0 is none")
		}
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			address, err = netip.AddrPortFrom(ip, 0), nil
		}
		if err != nil {
			return nil, fmt.Errorf("--public-address=%s: %w; write an IP address that clients can reach, or IP:PORT, "+
				"such as 192.0.2.1, 192.0.2.1:40000 or [2001:db8::1]:40000", text, err)
		}
		addresses = append(addresses, address)
	}

	return addresses, nil
}
