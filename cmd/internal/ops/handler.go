package ops

import (
	"io"
	"net/http"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// heapLive adds what the last collection found in use: memory without its garbage.
var heapLive = collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}

// NewRegistry returns a registry that has the collectors of the Go runtime and
// of the process.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(heapLive)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	return registry
}

// Handler serves /metrics from the gatherer, /healthz (200 while the process
// answers at all) and /readyz: 200 when ready returns nil, else 503 with the
// error's text, which should tell what is waited for. Details are what cannot be
// done though the program is ready: each that is not nil is a line of /readyz,
// whatever its status.
func Handler(gatherer prometheus.Gatherer, ready func() error, details ...func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, text := http.StatusOK, "ok"
		if err := ready(); err != nil {
			status, text = http.StatusServiceUnavailable, err.Error()
		}
		for _, detail := range details {
			if err := detail(); err != nil {
				text += "\n" + err.Error()
			}
		}
		writeText(w, status, text)
	})

	return mux
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// The only error is that the asker has gone.
	_, _ = io.WriteString(w, text+"\n")
}
