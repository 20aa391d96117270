//go:build !all

package browser

import (
	"fmt"
	"testing"
)

// pairings has each two values of what differs together at least once.
var pairings = []pairing{
	{sender: currentSDK, receiver: currentSDK, codec: "VP9", sendrecv: true},
	{sender: currentSDK, receiver: oldSDK, codec: "VP8"},
	{sender: oldSDK, receiver: oldSDK, codec: "AV1"},
	{sender: oldSDK, receiver: oldSDK, codec: "H264", sendrecv: true},
	{sender: oldSDK, receiver: oldSDK, codec: "VP9", simulcast: true},
	{sender: oldSDK, receiver: currentSDK, codec: "VP8", simulcast: true, sendrecv: true},
	{sender: currentSDK, receiver: currentSDK, codec: "H264", simulcast: true},
	{sender: currentSDK, receiver: currentSDK, codec: "AV1", simulcast: true, sendrecv: true},
}

func TestPairings(t *testing.T) {
	values := func(p pairing) [5]any { return [5]any{p.sender, p.receiver, p.codec, p.simulcast, p.sendrecv} }
	together := make(map[string]bool)
	var known [5][]any
	for _, p := range pairings {
		for i, a := range values(p) {
			known[i] = append(known[i], a)
			for j, b := range values(p) {
				together[fmt.Sprint(i, a, j, b)] = true
			}
		}
	}
	for i := range known {
		for j := range i {
			for _, a := range known[i] {
				for _, b := range known[j] {
					if !together[fmt.Sprint(i, a, j, b)] {
						t.Errorf("%v and %v are not together in any pairing", a, b)
					}
				}
			}
		}
	}
}
