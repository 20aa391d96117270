//go:build linux

package main

import "time"

// line is one round. Times are in microseconds from the sending of the request;
// null where there is nothing to tell.
type line struct {
	Server string `json:"server"`
	Way    string `json:"way"`
	Round  int    `json:"round"`

	Answer *int64 `json:"request_to_answer_us"`
	// LastPacket is negative when the last packet had come before the request.
	LastPacket *int64 `json:"request_to_last_packet_us"`
	// FirstWithheld is when the first packet that the receiver did not get came to
	// the other one: the cut lies between it and LastPacket.
	FirstWithheld      *int64 `json:"request_to_first_withheld_us"`
	PacketsAfterAnswer int    `json:"packets_after_answer"`
	PacketsBeyond      *int   `json:"packets_beyond_acknowledged"`
	WatchEvent         *int64 `json:"request_to_watch_event_us"`
	Enforcing          *int64 `json:"enforcing_us"`

	ResumeAnswer          *int64 `json:"resume_to_answer_us"`
	KeyframeRequest       *int64 `json:"resume_to_keyframe_request_us"`
	Keyframe              *int64 `json:"resume_to_keyframe_us"`
	PacketsBeforeKeyframe int    `json:"packets_before_keyframe"`
	SequenceGap           *int   `json:"sequence_gap"`
	CutInsideFrame        bool   `json:"cut_inside_frame"`
	SSRCChanged           bool   `json:"ssrc_changed"`
	AudioMissing          int    `json:"audio_missing"`

	GitRevision string `json:"git_revision"`

	acknowledged *uint16
}

// yardstick is what the API server alone took, without any of ours.
type yardstick struct {
	Server        string `json:"server"`
	Way           string `json:"way"`
	Round         int    `json:"round"`
	CreateToWatch *int64 `json:"create_to_watch_us"`
	DeleteToWatch *int64 `json:"delete_to_watch_us"`
	GitRevision   string `json:"git_revision"`
}

func microseconds(d time.Duration) *int64 {
	us := d.Microseconds()

	return &us
}

func (l *line) notePause(r request) {
	if !r.silent {
		l.Answer = microseconds(r.answered.Sub(r.sent))
	}
}

func (l *line) noteResume(r request) {
	if !r.silent {
		l.ResumeAnswer = microseconds(r.answered.Sub(r.sent))
	}
}

func (l *line) noteAcknowledgement(r request, a acknowledgement) {
	l.acknowledged = &a.lastSequence
	l.WatchEvent = microseconds(a.seen.Sub(r.sent))
	l.Enforcing = microseconds(a.enforcing)
}

// noteCut is called at the end of the pause.
func (l *line) noteCut(r request, video, reference []arrival) {
	last := video[len(video)-1]
	l.LastPacket = microseconds(last.at.Sub(r.sent))
	l.CutInsideFrame = !last.marker
	l.PacketsAfterAnswer = arrivedSince(video, r.answered)
	for _, a := range reference {
		if a.number == last.number+1 {
			l.FirstWithheld = microseconds(a.at.Sub(r.sent))
		}
	}
	if l.acknowledged == nil {
		return
	}
	beyond := 0
	for _, a := range video {
		if int16(a.sequence-*l.acknowledged) > 0 { //nolint:gosec // RTP's circular order.
			beyond++
		}
	}
	l.PacketsBeyond = &beyond
}

// noteReturn compares what came after the resume with the last packet before it.
func (l *line) noteReturn(r request, asked time.Time, last arrival, after []arrival) {
	l.KeyframeRequest = microseconds(asked.Sub(r.sent))
	first := after[0]
	l.SSRCChanged = first.ssrc != last.ssrc
	if !l.SSRCChanged {
		gap := int(first.sequence - last.sequence - 1)
		l.SequenceGap = &gap
	}
	for i, a := range after {
		if a.keyframe && a.at.After(r.sent) {
			l.Keyframe, l.PacketsBeforeKeyframe = microseconds(a.at.Sub(r.sent)), i

			break
		}
	}
}
