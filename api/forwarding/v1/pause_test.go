package forwardingv1_test

import (
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// A digest is the same in every version: these must never change.
func TestTheDigestsOfEveryVersion(t *testing.T) {
	ids := func(ids ...string) *forwardingv1.IDs { return &forwardingv1.IDs{Ids: ids} }
	for want, pause := range map[string]*forwardingv1.Pause{
		"39bc25d1784cd0c122f08cdc17f0ec16": {
			Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: ids("B", "A")}},
			Senders:   &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: ids("camera")}},
			Kinds:     []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		},
		"7a6ca29e280ba51c72576a89ff5aba19": {
			Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: &forwardingv1.EveryoneExcept{
				ConnectionIds: []string{"A"}, ClientIds: []string{"z", "b"},
			}}},
			Senders: &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
			Kinds:   []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO}, Reason: "test",
			ExpiresAt: timestamppb.New(time.Unix(1796115600, 5)), CreatedTime: timestamppb.New(time.Unix(1796000000, 0)),
		},
		"4bd898a3ac20463298bc82b1ae913f77": {
			Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
			Senders:   &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
			Kinds:     []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}, Generation: 3,
		},
	} {
		sum := pause.Sum()
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("the digest of %v is %s, was %s", pause, got, want)
		}
	}
}

// A manager sums 100,000 pauses when it starts, and again for the tables.
func TestADigestIsMadeOnTheStack(t *testing.T) {
	edge := &forwardingv1.Pause{
		Receivers: &forwardingv1.Side{
			Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: &forwardingv1.IDs{Ids: []string{"A", "B"}}},
		},
		Senders: &forwardingv1.Side{
			Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: &forwardingv1.IDs{Ids: []string{"C"}}},
		},
		Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO}, CreatedTime: timestamppb.New(time.Unix(1796000000, 0)),
		Generation: 3,
	}
	// The text of a time is one.
	if n := testing.AllocsPerRun(100, func() { edge.Sum() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
