package bot

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// startTime is how long a peer connection that has found its way may take to start.
const startTime = 5 * time.Second

// ClosePeer ends a peer connection and waits for pion's goroutines.
//
// It lets a start that is under way come to its end first. Until then nothing takes what comes from SSRCs that are new,
// and in pion (v4.2.26) the goroutine that hands such a one over waits for a taker, Close waits for that goroutine, and
// the start waits for a lock that Close holds. Pion closes in the same way of itself once the other side has, unless
// SettingEngine.DisableCloseByDTLS forbids it.
func ClosePeer(connection *webrtc.PeerConnection) error {
	awaitStart(connection)
	if err := connection.GracefulClose(); err != nil {
		return fmt.Errorf("close the peer connection: %w", err)
	}

	return nil
}

// awaitStart waits until a peer connection has nothing left to do. That is when it tells that a change has to be
// negotiated (W3C WebRTC, section 4.7.3), so there has to be one.
func awaitStart(connection *webrtc.PeerConnection) {
	switch connection.SCTP().Transport().State() {
	case webrtc.DTLSTransportStateConnected, webrtc.DTLSTransportStateClosed:
	default:
		return // No media has come yet.
	}
	if connection.SignalingState() != webrtc.SignalingStateStable {
		return // Nothing is told in this state; and only the first answer starts anything.
	}
	idle := make(chan struct{})
	connection.OnNegotiationNeeded(sync.OnceFunc(func() { close(idle) }))
	receiving := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	if _, err := connection.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, receiving); err != nil {
		return
	}
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
