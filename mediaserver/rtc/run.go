package rtc

import (
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// estimateInterval is how often senders are told the bitrate that they may use; a browser forgets it after a few seconds.
const estimateInterval = time.Second

// run watches the connection's state and sends what the server itself has to say to a sender.
func (p *Peer) run() {
	ticker := time.NewTicker(estimateInterval)
	defer ticker.Stop()

	connected, ended := false, false
	for {
		select {
		case <-p.closing:
			return
		case <-p.stateChanged:
			connected, ended = p.follow(connected, ended)
		case <-p.incoming.flooded:
			if !ended && !p.isClosing() {
				ended = true
				p.engine.counters.streamFloods.Add(1)
				p.end(ErrTooManyStreams)
			}
		case <-ticker.C:
			if connected && !ended {
				p.sendEstimate()
			}
		case <-p.keyframeWanted:
			p.sendKeyframeRequest()
		}
	}
}

// follow tells the configuration about the state reached, each thing once.
func (p *Peer) follow(connected, ended bool) (nowConnected, nowEnded bool) {
	if p.isClosing() || ended {
		return connected, ended
	}
	switch p.pc.ConnectionState() {
	case webrtc.PeerConnectionStateConnected:
		if !connected {
			p.sendEstimate()
			if p.config.OnConnected != nil {
				p.config.OnConnected()
			}
		}

		return true, false
	case webrtc.PeerConnectionStateFailed:
		p.end(ErrICEFailed)

		return connected, true
	case webrtc.PeerConnectionStateClosed:
		p.end(ErrClosedByClient)

		return connected, true
	default:
		return connected, false
	}
}

func (p *Peer) end(reason error) {
	if p.config.OnClosed != nil {
		p.config.OnClosed(reason)
	}
}

// sendEstimate tells the client how much it may send in all (draft-alvestrand-rmcat-remb-03): browsers start at some
// 300 kbit/s and, with no other congestion feedback offered, stay there until somebody tells them more.
func (p *Peer) sendEstimate() {
	estimate := rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: p.ssrc}
	for _, u := range []*uplink{p.audio, p.video} {
		if u == nil {
			continue
		}
		estimate.Bitrate += float32(u.config.MaxBitRate)
		if ssrc := u.ssrc.Load(); ssrc != 0 {
			estimate.SSRCs = append(estimate.SSRCs, ssrc)
		}
	}
	if estimate.Bitrate > 0 {
		p.writeRTCP(&estimate)
	}
}

func (p *Peer) sendKeyframeRequest() {
	if p.video == nil {
		return
	}
	if ssrc := p.video.ssrc.Load(); ssrc != 0 {
		p.writeRTCP(&rtcp.PictureLossIndication{SenderSSRC: p.ssrc, MediaSSRC: ssrc})
	}
}

func (p *Peer) writeRTCP(packet rtcp.Packet) {
	if err := p.pc.WriteRTCP([]rtcp.Packet{packet}); err != nil && !p.isClosing() {
		p.log.Debug("RTCP not sent", "error", err)
	}
}
