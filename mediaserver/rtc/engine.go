// Package rtc is the peer connections: SDP, ICE and DTLS-SRTP. It hands the RTP of clients up and takes RTP for them down.
//
// A Peer is one client's connection, both ways. Its uplinks are the m-lines on which the client sends, its downlinks those
// on which it receives. What is forwarded to whom is decided elsewhere.
package rtc

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Config is what an engine needs.
type Config struct {
	// Socket carries the media of all peers. The engine closes it.
	Socket *udp.Socket
	// PublicAddresses are announced in candidates, with the socket's port, instead of the addresses the socket listens on:
	// what clients reach when a NAT or a load balancer stands before the server.
	PublicAddresses []netip.Addr
	// SilenceTimeout is how long a client may send nothing at all, not even ICE's consent checks (RFC 7675), before it counts
	// as gone: 30 s if zero.
	SilenceTimeout time.Duration
	Log            *slog.Logger
	// Registerer takes the package's metrics; nil: they are not exported.
	Registerer prometheus.Registerer
}

// Engine makes peers that share one socket and one DTLS certificate.
type Engine struct {
	media       *webrtc.MediaEngine
	registry    *interceptor.Registry
	settings    webrtc.SettingEngine
	mux         *mux
	certificate webrtc.Certificate
	log         *slog.Logger
	counters    counters
	// headers are *rtp.Header: one that is passed through Pion's interfaces would else be allocated for each packet.
	headers sync.Pool

	mu     sync.Mutex
	closed bool
	peers  map[*Peer]struct{}
}

// New starts serving peers on the socket.
func New(config Config) (*Engine, error) {
	announced, err := candidateAddresses(config.Socket, config.PublicAddresses)
	if err != nil {
		return nil, err
	}
	certificate, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("make the DTLS certificate: %w", err)
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}

	engine := &Engine{certificate: *certificate, log: log, peers: make(map[*Peer]struct{})}
	if engine.media, err = newMediaEngine(); err != nil {
		return nil, err
	}
	if engine.registry, err = newRegistry(loggers{log}); err != nil {
		return nil, err
	}
	engine.mux = &mux{
		UDPMuxDefault: ice.NewUDPMuxDefault(ice.UDPMuxParams{
			UDPConn:           config.Socket,
			Logger:            loggers{log}.NewLogger("udp"),
			OnUnhandledPacket: func([]byte, netip.AddrPort) { engine.counters.strangeDatagrams.Add(1) },
		}),
		announced: announced,
		local:     config.Socket.LocalAddr(),
	}
	engine.settings = newSettings(engine.mux, cmp.Or(config.SilenceTimeout, defaultSilenceTimeout), loggers{log})
	if config.Registerer != nil {
		engine.register(config.Registerer)
	}

	return engine, nil
}

// newAPI is for one peer: Pion lets the buffers of incoming streams be chosen there only.
func (e *Engine) newAPI(incoming *streams) *webrtc.API {
	settings := e.settings
	settings.BufferFactory = incoming.open

	return webrtc.NewAPI(
		webrtc.WithMediaEngine(e.media),
		webrtc.WithInterceptorRegistry(e.registry),
		webrtc.WithSettingEngine(settings),
	)
}

// Close closes the peers that are left, and the socket.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	peers := make([]*Peer, 0, len(e.peers))
	for peer := range e.peers {
		peers = append(peers, peer)
	}
	e.mu.Unlock()

	var errs []error
	for _, peer := range peers {
		errs = append(errs, peer.Close())
	}

	return errors.Join(append(errs, e.mux.Close())...)
}

// newMediaEngine knows VP8 and Opus. No retransmission format (RFC 4588) and no header extensions are offered:
// retransmissions go out on the stream itself, and a forwarded MID extension would tie a stream to a wrong m-line.
func newMediaEngine() (*webrtc.MediaEngine, error) {
	media := &webrtc.MediaEngine{}
	codecs := []struct {
		kind  webrtc.RTPCodecType
		codec webrtc.RTPCodecParameters
	}{
		{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecParameters{
			PayloadType: 111,
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
			},
		}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{
			PayloadType: 96,
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeVP8, ClockRate: 90000,
				RTCPFeedback: []webrtc.RTCPFeedback{
					{Type: "goog-remb"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
				},
			},
		}},
	}
	for _, c := range codecs {
		if err := media.RegisterCodec(c.codec, c.kind); err != nil {
			return nil, fmt.Errorf("register %s: %w", c.codec.MimeType, err)
		}
	}

	return media, nil
}

// newRegistry has what acts on incoming streams only. The sending side is the fan-out's: sender reports, answers to
// NACK and keyframe requests need to know what was forwarded.
func newRegistry(logs loggers) (*interceptor.Registry, error) {
	requests, err := nack.NewGeneratorInterceptor(nack.WithGeneratorLoggerFactory(logs))
	if err != nil {
		return nil, fmt.Errorf("NACK generator: %w", err)
	}
	reports, err := report.NewReceiverInterceptor(report.WithReceiverLoggerFactory(logs))
	if err != nil {
		return nil, fmt.Errorf("receiver reports: %w", err)
	}
	registry := &interceptor.Registry{}
	registry.Add(requests)
	registry.Add(reports)

	return registry, nil
}

const (
	defaultSilenceTimeout = 30 * time.Second
	// disconnectedTimeout and keepaliveInterval are Pion's defaults.
	disconnectedTimeout = 5 * time.Second
	keepaliveInterval   = 2 * time.Second
)

func newSettings(mux *mux, silence time.Duration, logs loggers) webrtc.SettingEngine {
	settings := webrtc.SettingEngine{LoggerFactory: logs}
	disconnected := min(disconnectedTimeout, silence/2)
	settings.SetICETimeouts(disconnected, silence-disconnected, min(keepaliveInterval, disconnected/2))
	settings.SetICEUDPMux(mux)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.DisableActiveTCP(true)
	// GCM costs a fifth of AES-CM with HMAC-SHA1 on current processors.
	settings.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)

	return settings
}

// newCertificate makes the certificate that all peers share: the fingerprint in the SDP vouches for it (RFC 8122), so its
// age says nothing, but Pion refuses an expired one. Ten years outlast any process.
func newCertificate() (*webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()

	return webrtc.NewCertificate(key, x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "WebRTC"},
		Issuer:       pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.AddDate(0, 0, -1),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
}
