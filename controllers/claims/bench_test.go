package claims

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// BenchmarkTenThousandClaims takes as many as a list or a watch tells them, and says what
// each takes in memory.
func BenchmarkTenThousandClaims(b *testing.B) {
	const many = 10_000
	for b.Loop() {
		c, err := New(Config{
			REST:       &rest.Config{Host: "http://192.0.2.1"},
			Namespace:  "managers",
			Namespaces: []string{"tenant"},
			Log:        slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		for i := range many {
			channelID := fmt.Sprint("channel-", i)
			lease := (&claim{
				namespace: "tenant", channelID: channelID, name: NameOf("tenant", channelID),
				holder:          Holder{fmt.Sprint("sfu-", i%100), "0b5ad5b4-0000-4000-8000-000000000000"},
				resourceVersion: fmt.Sprint(i + 1), acquired: time.Now(), renewed: time.Now(),
			}).lease("managers")
			c.take(lease, false)
		}
		if c.count() != many {
			b.Fatalf("%d are known", c.count())
		}
		b.ReportMetric(float64(heap()-before)/many, "B/claim")
		runtime.KeepAlive(c)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)

	return int64(m.HeapAlloc)
}
