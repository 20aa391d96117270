package rtc

import (
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// reportInterval is how often senders get a reception report and, some, are told the bitrate that they may use; a
// browser forgets the latter after a few seconds.
const reportInterval = time.Second

// loop tells the configuration of the connection's state, each thing once, and sends what the server itself has to say
// to a sender.
func (p *Peer) loop() {
	var reporting <-chan time.Time // A client that sends nothing needs no reports, and costs no timer.
	if len(p.uplinks()) > 0 {
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		reporting = ticker.C
	}
	asking, checking, telling := time.NewTimer(0), time.NewTimer(0), time.NewTimer(feedbackInterval)
	defer asking.Stop()
	defer checking.Stop()
	defer telling.Stop()
	telling.Stop()
	connected, failed := p.connected, p.failed
	for {
		select {
		case <-p.closing:
			return
		case <-connected:
			connected = nil
			p.sendReports()
			if p.config.OnConnected != nil {
				p.config.OnConnected()
			}
		case reason := <-failed:
			connected, failed = nil, nil
			if p.config.OnClosed != nil && !p.isClosing() {
				p.config.OnClosed(reason)
			}
		case <-reporting:
			p.sendReports()
		case <-p.keyframeWanted:
			p.sendKeyframeRequest()
		case <-p.gap:
			p.askForMissing(asking)
		case <-asking.C:
			p.askForMissing(asking)
		case <-p.feedbackWanted:
			telling.Reset(p.feedbackDue())
		case <-telling.C:
			p.sendFeedback()
		case <-p.moving:
			checking.Reset(firstRecheck)
		case <-checking.C:
			if next := p.recheck(); next > 0 {
				checking.Reset(next)
			}
		}
	}
}

// sendReports tells the client what of its streams arrives (RFC 3550 section 6.4.2).
func (p *Peer) sendReports() {
	now := time.Now()
	report := &rtcp.ReceiverReport{SSRC: p.ssrc}
	p.inbound.mu.Lock()
	estimate := p.estimate()
	for _, u := range p.uplinks() {
		for i := range u.layers {
			if about, ok := u.layers[i].report(now); ok {
				report.Reports = append(report.Reports, about)
			}
		}
	}
	p.inbound.mu.Unlock()
	switch {
	case estimate != nil:
		p.writeRTCP(report, estimate)
	case len(report.Reports) > 0:
		p.writeRTCP(report)
	}
}

func (p *Peer) sendKeyframeRequest() {
	layers := media.Layers(p.keyframesOf.Swap(0))
	var requests []rtcp.Packet
	for layer, ssrc := range p.videoSSRCs() {
		if layers.Has(media.Layer(layer)) && ssrc != 0 {
			requests = append(requests, &rtcp.PictureLossIndication{SenderSSRC: p.ssrc, MediaSSRC: ssrc})
		}
	}
	if len(requests) > 0 {
		p.writeRTCP(requests...)
	}
}

// videoSSRCs are those of the layers of the client's video, 0 where none is known.
func (p *Peer) videoSSRCs() (ssrcs []uint32) {
	if p.video == nil {
		return nil
	}
	p.inbound.mu.Lock()
	defer p.inbound.mu.Unlock()
	for i := range p.video.layers {
		ssrcs = append(ssrcs, p.video.layers[i].ssrc)
	}

	return ssrcs
}

// askForMissing asks for the video packets that are missing (RFC 4585 section 6.2.1) and sets the timer for the next
// time; it rests while nothing is missing.
func (p *Peer) askForMissing(asking *time.Timer) {
	if p.video == nil {
		return
	}
	now := time.Now()
	var nacks []rtcp.Packet
	var first time.Time
	p.inbound.mu.Lock()
	for i := range p.video.layers {
		l := &p.video.layers[i]
		numbers, next := l.ask(now)
		if len(numbers) > 0 {
			nacks = append(nacks, &rtcp.TransportLayerNack{
				SenderSSRC: p.ssrc, MediaSSRC: l.ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(numbers),
			})
		}
		if !next.IsZero() && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	p.inbound.mu.Unlock()
	if len(nacks) > 0 {
		p.writeRTCP(nacks...)
	}
	if !first.IsZero() {
		asking.Reset(first.Sub(now))
	}
}

func (p *Peer) writeRTCP(packets ...rtcp.Packet) {
	p.sendRTCP(p.reports.seal(packets...))
}

// sendRTCP sends what could be sealed.
func (p *Peer) sendRTCP(sealed []byte, err error) {
	destination := p.selected.Load()
	if destination == nil {
		return
	}
	if err == nil {
		err = p.engine.socket.Send(sealed, destination)
	}
	if err != nil && !p.isClosing() {
		p.log.Debug("RTCP not sent", "error", err)
	}
}
