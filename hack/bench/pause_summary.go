//go:build linux

package main

import (
	"math"
	"slices"
)

// waySummary is all rounds by one way at one server. Times are in microseconds; null
// where there is nothing to tell.
type waySummary struct {
	Server string `json:"server"`
	Way    string `json:"way"`
	Rounds int    `json:"rounds"`

	Answer             span `json:"request_to_answer_us"`
	LastPacket         span `json:"request_to_last_packet_us"`
	FirstWithheld      span `json:"request_to_first_withheld_us"`
	PacketsAfterAnswer int  `json:"packets_after_answer"`
	MostAfterAnswer    int  `json:"most_packets_after_answer"`
	Acknowledged       int  `json:"acknowledged_rounds"`
	PacketsBeyond      int  `json:"packets_beyond_acknowledged"`
	WatchEvent         span `json:"request_to_watch_event_us"`
	Enforcing          span `json:"enforcing_us"`

	ResumeAnswer          span `json:"resume_to_answer_us"`
	KeyframeRequest       span `json:"resume_to_keyframe_request_us"`
	Keyframe              span `json:"resume_to_keyframe_us"`
	PacketsBeforeKeyframe int  `json:"packets_before_keyframe"`
	CutsInsideFrame       int  `json:"cuts_inside_frame"`
	BadGaps               int  `json:"bad_sequence_gaps"`
	SSRCChanges           int  `json:"ssrc_changes"`
	AudioMissing          int  `json:"audio_missing"`

	GitRevision string `json:"git_revision"`
}

// span is how a time was distributed, by nearest rank.
type span struct {
	P50 *int64 `json:"p50"`
	P99 *int64 `json:"p99"`
}

// yardsticks is all that was measured of the API server alone.
type yardsticks struct {
	Server        string `json:"server"`
	Way           string `json:"way"`
	Rounds        int    `json:"rounds"`
	CreateToWatch span   `json:"create_to_watch_us"`
	DeleteToWatch span   `json:"delete_to_watch_us"`
	// Fsync is the mean of etcd's waits for the disk during the rounds.
	Fsync       int64  `json:"etcd_fsync_mean_us"`
	Fsyncs      int64  `json:"etcd_fsyncs"`
	GitRevision string `json:"git_revision"`
}

func summarizeRounds(group []line) waySummary {
	s := waySummary{Server: group[0].Server, Way: group[0].Way, Rounds: len(group), GitRevision: group[0].GitRevision}
	s.Answer = spanOf(group, func(l line) *int64 { return l.Answer })
	s.LastPacket = spanOf(group, func(l line) *int64 { return l.LastPacket })
	s.FirstWithheld = spanOf(group, func(l line) *int64 { return l.FirstWithheld })
	s.WatchEvent = spanOf(group, func(l line) *int64 { return l.WatchEvent })
	s.Enforcing = spanOf(group, func(l line) *int64 { return l.Enforcing })
	s.ResumeAnswer = spanOf(group, func(l line) *int64 { return l.ResumeAnswer })
	s.KeyframeRequest = spanOf(group, func(l line) *int64 { return l.KeyframeRequest })
	s.Keyframe = spanOf(group, func(l line) *int64 { return l.Keyframe })
	for _, l := range group {
		s.PacketsAfterAnswer += l.PacketsAfterAnswer
		s.MostAfterAnswer = max(s.MostAfterAnswer, l.PacketsAfterAnswer)
		if l.PacketsBeyond != nil {
			s.Acknowledged++
			s.PacketsBeyond += *l.PacketsBeyond
		}
		s.PacketsBeforeKeyframe += l.PacketsBeforeKeyframe
		s.AudioMissing += l.AudioMissing
		s.CutsInsideFrame += one(l.CutInsideFrame)
		s.SSRCChanges += one(l.SSRCChanged)
		s.BadGaps += one(l.badGap())
	}

	return s
}

// badGap is a gap other than the deliberate one, which is where the cut left half
// a frame that no decoder shall wait for.
func (l line) badGap() bool {
	gap := l.SequenceGap

	return gap != nil && *gap != 0 && (*gap != 1 || !l.CutInsideFrame)
}

func one(is bool) int {
	if is {
		return 1
	}

	return 0
}

func spanOf[T any](all []T, figure func(T) *int64) span {
	var values []int64
	for _, each := range all {
		if v := figure(each); v != nil {
			values = append(values, *v)
		}
	}
	if len(values) == 0 {
		return span{}
	}
	slices.Sort(values)
	rank := func(q float64) *int64 { return &values[int(math.Ceil(q*float64(len(values))))-1] }

	return span{P50: rank(0.5), P99: rank(0.99)}
}
