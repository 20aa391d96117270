// Package page serves a small web client for trying channels out: it joins one,
// shows everybody, and pauses or resumes any of them through the shim.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// Config is what the page must know.
type Config struct {
	// ShimURL is where browsers reach the shim, such as http://127.0.0.1:3000.
	ShimURL string
}

// contentTypes by extension, so that nothing depends on the machine's MIME
// tables.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// file is one response, made once.
type file struct {
	name, contentType, etag string
	content                 []byte
}

// Handler serves the page at / and its parts beside it; config.json holds the
// configuration, so that nothing is written into HTML. The error says that
// ShimURL is no absolute http or https URL.
func Handler(config Config) (http.Handler, error) {
	shim, err := url.Parse(config.ShimURL)
	if err != nil {
		return nil, fmt.Errorf("parsing the shim's URL %q: %w", config.ShimURL, err)
	}
	if (shim.Scheme != "http" && shim.Scheme != "https") || shim.Host == "" {
		return nil, fmt.Errorf("the shim's URL %q must be like http://127.0.0.1:3000", config.ShimURL)
	}

	files, err := load(config)
	if err != nil {
		return nil, err
	}
	policy := contentSecurityPolicy(shim)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)

			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)

			return
		}
		served.serve(w, r, policy)
	}), nil
}

// contentSecurityPolicy lets the page load its own files only and talk to
// signalling and the shim only. ws: and wss: are named because not every browser
// takes 'self' for WebSockets too.
func contentSecurityPolicy(shim *url.URL) string {
	origin := shim.Scheme + ":" // CSP cannot express an IPv6 address.
	if host := shim.Hostname(); !strings.Contains(host, ":") {
		// A URL's host may hold a semicolon, which would end the directive.
		origin += "//" + url.PathEscape(host)
		if shim.Port() != "" {
			origin += ":" + shim.Port()
		}
	}

	return "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; " +
		"media-src 'self' blob: mediastream:; connect-src 'self' ws: wss: " + origin +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func load(config Config) (map[string]*file, error) {
	files := make(map[string]*file)
	err := fs.WalkDir(static, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		files["/"+path.Base(name)] = newFile(path.Base(name), content)

		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the embedded page: %w", err)
	}
	files["/"] = files["/index.html"]

	content, err := json.Marshal(map[string]string{"shim_url": config.ShimURL})
	if err != nil {
		return nil, fmt.Errorf("marshalling the page's configuration: %w", err)
	}
	files["/config.json"] = newFile("config.json", content)

	return files, nil
}

func newFile(name string, content []byte) *file {
	sum := sha256.Sum256(content)

	return &file{
		name:        name,
		contentType: contentTypes[path.Ext(name)],
		etag:        `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		content:     content,
	}
}

// serve has browsers ask each time, so that an upgrade never leaves old scripts
// beside a new page; the ETag makes that cheap.
func (f *file) serve(w http.ResponseWriter, r *http.Request, policy string) {
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.etag)
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Permissions-Policy", "camera=(self), microphone=(self)")
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
