package lifecycle

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

func TestConditionsOfEachVerdict(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	many := []string{"a", "b", "c", "d", "e", "f", "g"}
	for reason, want := range map[string]struct {
		ready, enforced metav1.ConditionStatus
		why             string
		says            string
	}{
		v1alpha1.ReasonEnforced:        {yes, yes, v1alpha1.ReasonWithheld, `media server "a", "b", "c", "d", "e", 2 more`},
		v1alpha1.ReasonArmed:           {yes, no, v1alpha1.ReasonNoLiveEdge, "whoever comes"},
		v1alpha1.ReasonExpired:         {yes, no, v1alpha1.ReasonNotInForce, "Move expiresAt"},
		v1alpha1.ReasonNotAcknowledged: {no, no, v1alpha1.ReasonNotAcknowledged, `"e", 2 more`},
		v1alpha1.ReasonMediaServerLost: {unknown, unknown, v1alpha1.ReasonMediaServerLost, `"e", 2 more`},
		v1alpha1.ReasonStarting:        {unknown, unknown, v1alpha1.ReasonStarting, "wait"},
		v1alpha1.ReasonNotUnderstood:   {no, no, v1alpha1.ReasonNotInForce, "Update"},
		v1alpha1.ReasonLimitExceeded:   {no, no, v1alpha1.ReasonNotInForce, "Delete pauses"},
		v1alpha1.ReasonDeleting:        {no, no, v1alpha1.ReasonNotInForce, "finalizers (somebody.example/f)"},
	} {
		object := &v1alpha1.RtpStreamPause{
			ObjectMeta: metav1.ObjectMeta{Generation: 3, Finalizers: []string{"somebody.example/f"}},
		}
		status := nextStatus(object, knowledge.Verdict{Reason: reason, Matching: many, Waiting: many, Lost: many}, 1)
		ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
		enforced := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionEnforced)
		if len(status.Conditions) != 2 || status.ObservedGeneration != 3 || ready.ObservedGeneration != 3 ||
			enforced.ObservedGeneration != 3 {
			t.Errorf("%s: %+v", reason, status)
		}
		if ready.Status != want.ready || ready.Reason != reason || enforced.Status != want.enforced ||
			enforced.Reason != want.why {
			t.Errorf("%s: ready %s %s, enforced %s %s; want %+v", reason, ready.Status, ready.Reason, enforced.Status,
				enforced.Reason, want)
		}
		if ready.Message == enforced.Message || !strings.Contains(ready.Message+enforced.Message, want.says) {
			t.Errorf("%s: %q and %q; want %q", reason, ready.Message, enforced.Message, want.says)
		}
		for _, message := range []string{ready.Message, enforced.Message} {
			if !strings.HasSuffix(message, ".") || strings.Contains(message, `"f"`) ||
				regexp.MustCompile(`\d\d:\d\d`).MatchString(message) {
				t.Errorf("%s: the message %q", reason, message)
			}
		}
	}
}

func TestASlowerClockThatStillWithholdsIsTold(t *testing.T) {
	status := nextStatus(&v1alpha1.RtpStreamPause{},
		knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}, Withholding: []string{"ms"}}, 1)
	for _, condition := range status.Conditions {
		if condition.Status != metav1.ConditionTrue || !strings.Contains(condition.Message, `media server "ms"`) ||
			!strings.Contains(condition.Message, "clock") {
			t.Errorf("%+v", condition)
		}
	}
}

func TestMediaServerOfTheStatus(t *testing.T) {
	for i, c := range []struct {
		named              string
		generation, before int64
		reason             string
		matching, waiting  []string
		want               string
		enforced           int64
	}{
		{"", 1, -1, v1alpha1.ReasonEnforced, []string{"a", "b"}, nil, "a", 1},
		{"b", 1, 1, v1alpha1.ReasonEnforced, []string{"a", "b"}, nil, "b", 1},
		{"b", 1, 1, v1alpha1.ReasonArmed, nil, nil, "b", 0},
		{"b", 1, 1, v1alpha1.ReasonNotAcknowledged, nil, []string{"b"}, "b", 0},
		{"b", 2, 1, v1alpha1.ReasonArmed, nil, nil, "", 0},
		{"b", 2, 1, v1alpha1.ReasonNotAcknowledged, nil, []string{"a", "b"}, "", 0},
		{"b", 2, 1, v1alpha1.ReasonNotAcknowledged, nil, []string{"a"}, "b", 0},
		{"b", 2, 1, v1alpha1.ReasonMediaServerLost, nil, nil, "b", 0},
		{"b", 2, 1, v1alpha1.ReasonStarting, nil, nil, "b", 0},
		{"b", 2, 1, v1alpha1.ReasonEnforced, []string{"a"}, nil, "a", 2},
	} {
		object := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Generation: c.generation}}
		object.Status.MediaServer, object.Status.ObservedGeneration = c.named, c.before
		if got := mediaServer(object, knowledge.Verdict{
			Reason: c.reason, Matching: c.matching, Waiting: c.waiting,
		}); got != c.want {
			t.Errorf("case %d: %q, want %q", i, got, c.want)
		}
		if got := mediaServer(object, knowledge.Verdict{
			Reason: c.reason, Matching: c.matching, Waiting: c.waiting, Gone: true,
		}); got != "" && len(c.matching) == 0 {
			t.Errorf("case %d: %q is named, and is gone", i, got)
		}
		status := nextStatus(object, knowledge.Verdict{Reason: c.reason, Matching: c.matching, Waiting: c.waiting}, 1)
		if status.EnforcedGeneration != c.enforced {
			t.Errorf("case %d: enforced is generation %d, want %d", i, status.EnforcedGeneration, c.enforced)
		}
	}
}

func TestWhenAPauseIsCollected(t *testing.T) {
	at := func(seconds int64) *metav1.Time { return &metav1.Time{Time: time.Unix(1_800_000_000+seconds, 0)} }
	seconds := func(n int64) *int64 { return &n }
	expired := knowledge.Verdict{Reason: v1alpha1.ReasonExpired}
	for i, c := range []struct {
		expiresAt, gone *metav1.Time
		ttl, after      *int64
		verdict         knowledge.Verdict
		reason          string
		at              int64
	}{
		{expiresAt: at(0), verdict: expired},
		{expiresAt: at(0), ttl: seconds(60), verdict: expired, reason: afterExpiry, at: 60},
		{expiresAt: at(0), ttl: seconds(0), verdict: expired, reason: afterExpiry},
		{expiresAt: at(0), ttl: seconds(60), verdict: knowledge.Verdict{
			Reason: v1alpha1.ReasonEnforced, Matching: []string{"slow"}, Withholding: []string{"slow"},
		}},
		{expiresAt: at(0), ttl: seconds(60), verdict: knowledge.Verdict{
			Reason: v1alpha1.ReasonMediaServerLost, Lost: []string{"m"},
		}},
		{expiresAt: at(0), ttl: seconds(60), verdict: knowledge.Verdict{
			Reason: v1alpha1.ReasonLimitExceeded, Matching: []string{"m"},
		}},
		{
			expiresAt: at(0),
			ttl:       seconds(60),
			verdict:   knowledge.Verdict{Reason: v1alpha1.ReasonLimitExceeded},
			reason:    afterExpiry,
			at:        60,
		},
		{
			gone:    at(10),
			after:   seconds(60),
			verdict: knowledge.Verdict{Reason: v1alpha1.ReasonArmed},
			reason:  afterDisconnect,
			at:      70,
		},
		{after: seconds(60), verdict: knowledge.Verdict{Reason: v1alpha1.ReasonArmed}},
		{
			expiresAt: at(0), ttl: seconds(60), gone: at(10), after: seconds(20), verdict: expired, reason: afterDisconnect,
			at: 30,
		},
		{expiresAt: at(0), ttl: seconds(1<<63 - 1), verdict: expired, reason: afterExpiry, at: 1<<63 - 1 - 1_800_000_000},
	} {
		object := &v1alpha1.RtpStreamPause{Spec: v1alpha1.RtpStreamPauseSpec{
			ExpiresAt: c.expiresAt, TTLSecondsAfterExpired: c.ttl, DeleteAfterDisconnectSeconds: c.after,
		}}
		object.Status.DisconnectedAt = c.gone
		reason, when := collection(object, c.verdict)
		if reason != c.reason || reason != "" && when.Unix() != at(c.at).Unix() {
			t.Errorf("case %d: %q at %d, want %q at %d", i, reason, when.Unix(), c.reason, at(c.at).Unix())
		}
	}
}

func TestAnEditStartsTheClockAnew(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	left := now.Add(-50 * time.Second)
	object := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	object.Status.ObservedGeneration = 1
	object.Status.DisconnectedAt = &metav1.Time{Time: left}
	if got := disconnectedAt(object, left, now); !got.Time.Equal(now) {
		t.Errorf("after an edit: %v", got)
	}
	object.Status.ObservedGeneration = 2
	if got := disconnectedAt(object, left.Add(time.Second), now); !got.Time.Equal(left) {
		t.Errorf("another replica that learnt of it later moved the clock to %v", got)
	}
	if got := disconnectedAt(object, left.Add(-time.Hour), now); !got.Time.Equal(left) {
		t.Errorf("another replica that knows only of what was before the edit moved the clock to %v", got)
	}
	if got := disconnectedAt(object, time.Time{}, now); got != nil {
		t.Errorf("back again: %v", got)
	}
}

func TestWordsAreBounded(t *testing.T) {
	if names := slices.Repeat([]string{"x"}, 1000); len(words(names, "%q")) > 100 {
		t.Errorf("%q", words(names, "%q"))
	}
}
