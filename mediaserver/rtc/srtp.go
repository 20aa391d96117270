package rtc

import (
	"errors"
	"fmt"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

const (
	// srtpReplayWindow is how late a packet may come: later than any that is still of use (numbers.MaxMisorder).
	srtpReplayWindow = 1024
	// srtcpReplayWindow is RFC 3711's (section 3.3.2).
	srtcpReplayWindow = 64
	// srtcpOverhead is the most that sealing adds to an RTCP packet, index and tag.
	srtcpOverhead = 4 + 16
)

// keys are what DTLS has agreed on (RFC 5764).
type keys struct {
	profile srtp.ProtectionProfile
	session srtp.SessionKeys
	// overhead is what sealing adds to an RTP packet, in bytes.
	overhead int
}

// newKeys derives them; client: the server is the DTLS client.
func newKeys(conn *dtls.Conn, client bool) (*keys, error) {
	profiles := map[dtls.SRTPProtectionProfile]srtp.ProtectionProfile{
		dtls.SRTP_AEAD_AES_128_GCM:       srtp.ProtectionProfileAeadAes128Gcm,
		dtls.SRTP_AES128_CM_HMAC_SHA1_80: srtp.ProtectionProfileAes128CmHmacSha1_80,
	}
	selected, _ := conn.SelectedSRTPProtectionProfile()
	profile, ok := profiles[selected]
	if !ok {
		return nil, fmt.Errorf("the client shares no SRTP protection profile with the server (selected: %#x)", selected)
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errors.New("DTLS is not established")
	}
	config := srtp.Config{Profile: profile}
	if err := config.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, fmt.Errorf("derive SRTP keys: %w", err)
	}
	tag, err := profile.AuthTagRTPLen()
	if err != nil {
		return nil, err
	}
	aeadTag, err := profile.AEADAuthTagLen()
	if err != nil {
		return nil, err
	}

	return &keys{profile: profile, session: config.Keys, overhead: tag + aeadTag}, nil
}

// sealing makes a context for one outgoing stream. Each stream has one of its own, for a context serves one goroutine
// at a time, and the streams of one client come from many senders.
func (k *keys) sealing() (*srtp.Context, error) {
	return srtp.CreateContext(k.session.LocalMasterKey, k.session.LocalMasterSalt, k.profile)
}

func (k *keys) opening() (*srtp.Context, error) {
	return srtp.CreateContext(k.session.RemoteMasterKey, k.session.RemoteMasterSalt, k.profile,
		srtp.SRTPReplayProtection(srtpReplayWindow), srtp.SRTCPReplayProtection(srtcpReplayWindow))
}

// reports seals the RTCP that the client is sent. Its methods may be called from any goroutine.
type reports struct {
	mu      sync.Mutex
	context *srtp.Context // nil: DTLS is not up
	header  rtcp.Header   // scratch of the context's
}

// seal gives the sealed form of RTCP packets: ErrNotBound before DTLS is up.
func (r *reports) seal(packets ...rtcp.Packet) ([]byte, error) {
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return nil, err
	}

	return r.sealBytes(make([]byte, 0, len(plain)+srtcpOverhead), plain)
}

// sealBytes is seal for packets that are written already. The sealed form goes into the memory of to.
func (r *reports) sealBytes(to, plain []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.context == nil {
		return to, ErrNotBound
	}

	return r.context.EncryptRTCP(to, plain, &r.header)
}
