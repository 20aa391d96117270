package sora

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// CheckOrigin tells what is wrong with an origin for CORS: one origin such as
// http://127.0.0.1:5000, without a path and without a trailing slash.
func CheckOrigin(origin string) error {
	const want = "write one origin such as http://127.0.0.1:5000"
	parsed, err := url.Parse(origin)
	switch {
	case err != nil:
		return fmt.Errorf("CORS origin %q: %w; %s", origin, err, want)
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return fmt.Errorf("CORS origin %q does not start with http:// or https://; %s", origin, want)
	case parsed.Path == "/":
		return fmt.Errorf("CORS origin %q ends with a slash; browsers send none: remove it", origin)
	case parsed.Path != "":
		return fmt.Errorf("CORS origin %q has the path %s; an origin has none: remove it", origin, parsed.Path)
	case parsed.Hostname() == "" || origin != parsed.Scheme+"://"+parsed.Host:
		return fmt.Errorf("CORS origin %q is not a scheme, a host and at most a port; %s", origin, want)
	}
	for _, c := range origin {
		if c == ',' || c == '*' || c <= ' ' || c > '~' {
			return fmt.Errorf("CORS origin %q is not one origin in ASCII; %s", origin, want)
		}
	}

	return nil
}

// setCORS adds the four documented headers, where pages may call at all. Of several
// origins the answer names the request's, as a response can name but one (Fetch standard,
// CORS protocol), and tells caches so; to all others it names the first, as a single one is
// named whatever the request's is. The last two of the allowed headers are ours: they go
// with the documented use of the API behind Sora's hosted services.
func setCORS(header http.Header, origins []string, request string) {
	if len(origins) == 0 {
		return
	}
	origin := origins[0]
	if len(origins) > 1 {
		header["vary"] = []string{"Origin"}
	}
	if slices.Contains(origins, request) {
		origin = request
	}
	header["access-control-allow-headers"] = []string{
		"Origin, X-Requested-With, Content-Type, Accept, x-sora-target, Authorization, x-sora-release-channel",
	}
	header["access-control-allow-methods"] = []string{"POST, OPTIONS"}
	header["access-control-allow-origin"] = []string{origin}
	header["access-control-max-age"] = []string{"1000"}
}
