package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/transport/v5/packetio"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// identity is the certificate that all peers share.
type identity struct {
	certificate tls.Certificate
	fingerprint string // SHA-256, as SDP writes it (RFC 8122 section 5)
}

// newIdentity makes a certificate. The fingerprint in the SDP vouches for it (RFC 8122), so its age says nothing; ten
// years outlast any process.
func newIdentity() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return identity{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "WebRTC"},
		Issuer:       pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.AddDate(0, 0, -1),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return identity{}, err
	}
	digest := sha256.Sum256(der)

	return identity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		fingerprint: strings.ReplaceAll(fmt.Sprintf("% X", digest), " ", ":"),
	}, nil
}

// handshakeTimeout bounds ICE and DTLS together, from the answer on.
const handshakeTimeout = 30 * time.Second

// secure waits for a path, does the DTLS handshake, opens the peer for media, and waits until the client ends the
// association. It is the peer's goroutine from the first answer on.
func (p *Peer) secure(remote answer) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	select {
	case <-p.reachable:
	case <-p.closing:
		return
	case <-ctx.Done():
		p.fail(ErrICEFailed)

		return
	}
	conn, err := p.dtlsConn(remote)
	if err == nil {
		p.running.Add(1)
		go func() { // Close has the client told.
			defer p.running.Done()
			<-p.closing
			_ = conn.Close()
			_ = p.wire.Close()
		}()
		err = conn.HandshakeContext(ctx)
	}
	if err == nil {
		err = p.unlock(conn, remote.passive)
	}
	if err != nil {
		p.log.Debug("no DTLS-SRTP with a client", "error", err)
		p.fail(ErrICEFailed)

		return
	}
	buffer := make([]byte, 1<<14)
	for err == nil {
		_, err = conn.Read(buffer) // Nothing that a client says inside DTLS matters here.
	}
	p.fail(ErrClosedByClient)
}

func (p *Peer) dtlsConn(remote answer) (*dtls.Conn, error) {
	options := []dtls.Option{
		dtls.WithCertificates(p.engine.identity.certificate),
		// GCM costs a fifth of AES-CM with HMAC-SHA1 on current processors.
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithInsecureSkipVerify(true), // Certificates are self-signed; the answer's fingerprint vouches for the client's.
		dtls.WithVerifyPeerCertificate(remote.verify),
		dtls.WithLoggerFactory(loggers{p.log}),
	}
	if remote.passive {
		clientOptions := make([]dtls.ClientOption, len(options))
		for i, option := range options {
			clientOptions[i] = option
		}

		return dtls.ClientWithOptions(p.wire, p.wire.LocalAddr(), clientOptions...)
	}
	serverOptions := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true)}
	for _, option := range options {
		serverOptions = append(serverOptions, option)
	}

	return dtls.ServerWithOptions(p.wire, p.wire.LocalAddr(), serverOptions...)
}

// verify compares the client's certificate with the fingerprints of its answer (RFC 8122 section 5).
func (a answer) verify(certificates [][]byte, _ [][]*x509.Certificate) error {
	if len(certificates) == 0 {
		return errors.New("the client shows no certificate")
	}
	certificate, err := x509.ParseCertificate(certificates[0])
	if err != nil {
		return err
	}
	for _, f := range a.fingerprints {
		value, err := fingerprint.Fingerprint(certificate, f.hash)
		if err == nil && strings.EqualFold(value, f.value) {
			return nil
		}
	}

	return errors.New("the client's certificate is not the one of its answer")
}

// wire is what DTLS reads and writes: what the demuxer gives it, and the path that the client has chosen.
type wire struct {
	socket   *udp.Socket
	selected *atomic.Pointer[udp.Destination]
	incoming *packetio.Buffer
}

// wireBytes is what may wait for DTLS: a few flights of a handshake.
const wireBytes = 64 << 10

func newWire(socket *udp.Socket, selected *atomic.Pointer[udp.Destination]) *wire {
	w := &wire{socket: socket, selected: selected, incoming: packetio.NewBuffer()}
	w.incoming.SetLimitSize(wireBytes)

	return w
}

// receive never blocks; what does not fit is lost, and sent again.
func (w *wire) receive(datagram []byte) { _, _ = w.incoming.Write(datagram, nil) }

// ReadFrom is that of net.PacketConn.
func (w *wire) ReadFrom(datagram []byte) (int, net.Addr, error) {
	n, _, err := w.incoming.Read(datagram, nil)

	return n, w.LocalAddr(), err
}

// WriteTo is that of net.PacketConn. Before there is a path, datagrams are lost.
func (w *wire) WriteTo(datagram []byte, _ net.Addr) (int, error) {
	if destination := w.selected.Load(); destination != nil {
		if err := w.socket.Send(datagram, destination); errors.Is(err, net.ErrClosed) {
			return 0, err
		}
	}

	return len(datagram), nil
}

// Close ends reads.
func (w *wire) Close() error { return w.incoming.Close() }

// LocalAddr stands for both ends: DTLS asks for addresses, and whom they name does not matter.
func (w *wire) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(w.socket.Addr()) }

// SetDeadline is that of net.PacketConn; writes never block.
func (w *wire) SetDeadline(t time.Time) error { return w.incoming.SetReadDeadline(t) }

// SetReadDeadline is that of net.PacketConn.
func (w *wire) SetReadDeadline(t time.Time) error { return w.incoming.SetReadDeadline(t) }

// SetWriteDeadline is that of net.PacketConn; writes never block.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
