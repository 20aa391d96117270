//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/packetio"
)

const (
	// checkInterval keeps a client alive, at the server's 30 s, and costs the server next to nothing.
	checkInterval = 10 * time.Second
	// checkPatience is for the answer to one check.
	checkPatience = time.Second
	// handshakePatience is for all of DTLS.
	handshakePatience = 30 * time.Second
)

// dtlsIdentity is the certificate of all clients: making one is no matter of the server's.
type dtlsIdentity struct {
	certificate tls.Certificate
	fingerprint string
}

func newDTLSIdentity() (*dtlsIdentity, error) {
	certificate, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	sum := sha256.Sum256(certificate.Certificate[0])
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}

	return &dtlsIdentity{certificate: certificate, fingerprint: strings.Join(hex, ":")}, nil
}

// channelTransport is a client's UDP socket: checks of its path (ICE) and, beside them, DTLS.
// No media passes.
type channelTransport struct {
	*net.UDPConn
	handshake    *packetio.Buffer // What has arrived of DTLS.
	identity     *dtlsIdentity
	ufrag, pwd   string
	ours, theirs stun.MessageIntegrity
	username     string
	answered     chan struct{} // Capacity 1: a check was answered.
	closing      chan struct{}
	running      sync.WaitGroup
}

// openChannelTransport opens a socket towards the first candidate of an offer as it stands in JSON.
func openChannelTransport(offer []byte, identity *dtlsIdentity) (*channelTransport, error) {
	attribute := func(name string) string {
		_, rest, _ := bytes.Cut(offer, []byte(escapedEnd+"a="+name+":"))
		value, _, _ := bytes.Cut(rest, []byte(escapedEnd))

		return string(value)
	}
	candidate := strings.Fields(attribute("candidate"))
	if len(candidate) < 6 {
		return nil, errors.New("the offer has no candidate")
	}
	address, err := netip.ParseAddrPort(net.JoinHostPort(candidate[4], candidate[5]))
	if err != nil {
		return nil, fmt.Errorf("read the offer's candidate: %w", err)
	}
	connection, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	t := &channelTransport{
		UDPConn: connection, identity: identity, ufrag: rand.Text()[:8], pwd: rand.Text(),
		handshake: packetio.NewBuffer(), answered: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	t.ours, t.theirs = stun.NewShortTermIntegrity(t.pwd), stun.NewShortTermIntegrity(attribute("ice-pwd"))
	t.username = attribute("ice-ufrag") + ":" + t.ufrag

	return t, nil
}

// description is what an answer says of the transport, in each m-line, as it stands in JSON.
func (t *channelTransport) description() string {
	return strings.Join([]string{
		"a=ice-ufrag:" + t.ufrag, "a=ice-pwd:" + t.pwd, "a=ice-options:trickle",
		"a=fingerprint:sha-256 " + t.identity.fingerprint, "a=setup:active",
	}, escapedEnd)
}

// connect checks the path, shakes hands, and goes on checking until close.
func (t *channelTransport) connect(tally *channelTally) {
	t.running.Go(t.receive)
	t.running.Go(func() {
		if err := t.run(); err != nil && !t.isClosing() {
			tally.fail(err)
		}
	})
}

func (t *channelTransport) run() error {
	for answered := false; !answered; {
		if err := t.check(); err != nil {
			return err
		}
		select {
		case <-t.answered:
			answered = true
		case <-time.After(checkPatience):
		case <-t.closing:
			return nil
		}
	}
	conn, err := dtls.ClientWithOptions(handshakeConn{t.UDPConn, t.handshake}, t.RemoteAddr(),
		dtls.WithCertificates(t.identity.certificate),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM),
		dtls.WithInsecureSkipVerify(true)) // The server is our own child.
	if err != nil {
		return fmt.Errorf("begin DTLS: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), handshakePatience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := t.check(); err != nil {
				return err
			}
		case <-t.closing:
			return nil
		}
	}
}

// check sends a check that nominates the path (RFC 8445 section 7.2.2).
func (t *channelTransport) check() error {
	message, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(t.username),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{0x6e, 0, 0, 0xff}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrUseCandidate}, t.theirs, stun.Fingerprint)
	if err != nil {
		return fmt.Errorf("make a check: %w", err)
	}
	if _, err := t.Write(message.Raw); err != nil {
		return fmt.Errorf("send a check: %w", err)
	}

	return nil
}

// receive tells STUN and DTLS apart (RFC 7983) until the socket closes.
func (t *channelTransport) receive() {
	buffer := make([]byte, slotBytes)
	for {
		n, err := t.Read(buffer)
		switch {
		case err != nil:
			_ = t.handshake.Close()

			return
		case n > 0 && buffer[0] < 4:
			t.takeSTUN(buffer[:n])
		case n > 0 && buffer[0] >= 20 && buffer[0] < 64:
			_, _ = t.handshake.Write(buffer[:n], nil) // DTLS sends again what is lost here.
		}
	}
}

func (t *channelTransport) takeSTUN(datagram []byte) {
	message := stun.Message{Raw: datagram}
	switch {
	case message.Decode() != nil:
	case message.Type == stun.BindingSuccess:
		select {
		case t.answered <- struct{}{}:
		default:
		}
	case message.Type == stun.BindingRequest:
		answer, err := stun.Build(stun.NewTransactionIDSetter(message.TransactionID), stun.BindingSuccess, t.ours,
			stun.Fingerprint)
		if err == nil {
			_, _ = t.Write(answer.Raw) // The server asks again.
		}
	}
}

func (t *channelTransport) isClosing() bool {
	select {
	case <-t.closing:
		return true
	default:
		return false
	}
}

func (t *channelTransport) close() {
	close(t.closing)
	_ = t.Close()
	t.running.Wait()
}

// handshakeConn is what DTLS reads from and writes to.
type handshakeConn struct {
	*net.UDPConn
	arrived *packetio.Buffer
}

// ReadFrom reads what has arrived of DTLS.
func (c handshakeConn) ReadFrom(buffer []byte) (int, net.Addr, error) {
	n, _, err := c.arrived.Read(buffer, nil)

	return n, c.RemoteAddr(), err //nolint:wrapcheck // DTLS looks for its own kinds of error.
}

// WriteTo sends to the one there is.
func (c handshakeConn) WriteTo(data []byte, _ net.Addr) (int, error) { return c.Write(data) }

// SetReadDeadline is for ReadFrom.
func (c handshakeConn) SetReadDeadline(at time.Time) error { return c.arrived.SetReadDeadline(at) }

// SetDeadline is for ReadFrom: what is sent waits for nothing.
func (c handshakeConn) SetDeadline(at time.Time) error { return c.SetReadDeadline(at) }

// Close leaves the socket to its owner.
func (c handshakeConn) Close() error { return c.arrived.Close() }
