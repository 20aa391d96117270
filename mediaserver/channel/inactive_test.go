package channel_test

import (
	"context"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
)

// What the authority makes inactive a client does not send, since its offer says so, and who
// asks for it gets the next lower, through later offers too.
func TestInactiveEncodings(t *testing.T) {
	type encoding map[string]any
	r0, r1, r2 := encoding{"rid": "r0"}, encoding{"rid": "r1"}, encoding{"rid": "r2"}
	inactive := func(rid string) encoding { return encoding{"rid": rid, "active": false} }
	const w0, w1, w2 = 160, 320, 640
	for name, test := range map[string]struct {
		encodings []encoding
		wants     map[string]int
	}{
		"all are active":      {[]encoding{r0, r1, r2}, map[string]int{"r0": w0, "r1": w1, "r2": w2}},
		"the highest is not":  {[]encoding{r0, r1, inactive("r2")}, map[string]int{"r0": w0, "r1": w1, "r2": w1}},
		"the second is not":   {[]encoding{r0, inactive("r1"), r2}, map[string]int{"r0": w0, "r1": w0, "r2": w2}},
		"the lowest is not":   {[]encoding{inactive("r0"), r1, r2}, map[string]int{"r0": w1, "r1": w1, "r2": w2}},
		"who is not named":    {[]encoding{r0}, map[string]int{"r0": w0, "r2": w0}},
		"all but the highest": {[]encoding{r2}, map[string]int{"r0": w2, "r2": w2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signer, authority := newAuthority(t)
			s := newServerWith(t, authority, time.Hour, channel.Hold)
			join := func(role bot.Role, rid string, claims map[string]any) (*bot.Bot, *sizes) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				seen := &sizes{width: make(map[string]int)}
				b, err := bot.Join(ctx, bot.Config{
					URL: s.url, ChannelID: channelID, Role: role, Simulcast: true, RID: rid, Observer: seen.observe,
					Metadata: signer.metadata(t, claims),
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(b.Drop)

				return b, seen
			}
			sender, _ := join(bot.SendRecv, "", map[string]any{"simulcast_encodings": test.encodings})
			s.apply()
			join(bot.SendOnly, "", nil) // brings the sender another offer
			see := make(map[string]*sizes)
			for rid := range test.wants {
				_, see[rid] = join(bot.RecvOnly, rid, nil)
			}
			for rid, width := range test.wants {
				eventually(t, "who asks for "+rid+" sees what there is of it", func() bool { return see[rid].of(sender) == width })
			}
		})
	}
}
