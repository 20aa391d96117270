package rtc

import (
	"time"

	"github.com/pion/rtcp"
)

// reportInterval is how often senders get a reception report and, some, are told the bitrate that they may use; a browser
// forgets the latter after a few seconds.
const reportInterval = time.Second

// run tells the configuration of the connection's state, each thing once, and sends what the server itself has to say to a
// sender.
func (p *Peer) run() {
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
		if about, ok := u.reception.report(now); ok {
			report.Reports = append(report.Reports, about)
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
	if ssrc := p.videoSSRC(); ssrc != 0 {
		p.writeRTCP(&rtcp.PictureLossIndication{SenderSSRC: p.ssrc, MediaSSRC: ssrc})
	}
}

func (p *Peer) videoSSRC() uint32 {
	if p.video == nil {
		return 0
	}
	p.inbound.mu.Lock()
	defer p.inbound.mu.Unlock()

	return p.video.reception.ssrc
}

// askForMissing asks for the video packets that are missing (RFC 4585 section 6.2.1) and sets the timer for the next time;
// it rests while nothing is missing.
func (p *Peer) askForMissing(asking *time.Timer) {
	if p.video == nil {
		return
	}
	now := time.Now()
	p.inbound.mu.Lock()
	ssrc := p.video.reception.ssrc
	numbers, next := p.video.reception.ask(now)
	p.inbound.mu.Unlock()
	if len(numbers) > 0 {
		p.writeRTCP(&rtcp.TransportLayerNack{SenderSSRC: p.ssrc, MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(numbers)})
	}
	if !next.IsZero() {
		asking.Reset(next.Sub(now))
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
